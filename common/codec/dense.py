"""Every value in a ring of b bits: rotated, quantised with stochastic rounding, error fed back.

    y  = H . diag(signs) . (factor * difference) + carried
    q  = clip(round(y/step_B + noise), -L, L)             x = q mod 2**b
    e' = y - q*step_B
    mean = signs * float32(H_int . sum q) * c_B           c_B = step_B*65535/(64*sum V)

noise is uniform in [-1/2, 1/2), in steps of 2**-16: the mean of q lies within 2**-16 of y/step_B.
step_B = m*r_B/L in float64; workers and `mean` round it, or c_B, to float32 once.
"""

import math
from typing import Final

import numpy as np

from common.arrays import F32, F64, Ring, shorten_loops
from common.codec import Encoded, Total
from common.codec.noise import Noise
from common.codec.packing import WIDTHS, Writable, pack, pack_into, ring_dtype, unpack
from common.errors import BadUpdateError, ConfigError
from common.rotation import rotate, rotate_exactly
from common.scales import Scales, exact_squares, levels
from common.schema import BLOCK
from common.weight import ONE

_FINE: Final = 2**16  # noise steps per quantisation step
_ROUNDER: Final = np.float32(1.5 * 2.0**23 * _FINE)
"""Added to a float32 it rounds it to a multiple of `_FINE`, how many stands in the lowest bits."""
_ROUNDED_ZERO: Final = int(_ROUNDER.view(np.int32))
_NARROW_LEVELS: Final = 2
_NARROW_MULTIPLE: Final = 2.0


class Dense:
    """One round's dense ring.

    Args:
        bits: b.
        num_members: K, members in the plan.
        step_multiple: m; at most 2 in a ring of one or two levels, whose steps would be too coarse.
        scales: of the round.
        signs: of the run, float32[BLOCK].

    Attributes:
        reach: m as it is used: values are clipped beyond so many radii.
    """

    keeps_residual = True

    def __init__(
        self, bits: int, num_members: int, step_multiple: float, scales: Scales, signs: F32
    ) -> None:
        self.bits = bits
        self.levels = levels(bits, num_members) if bits in WIDTHS else 0
        if self.levels < 1:
            raise ConfigError(
                f"a ring of {bits} bits cannot hold the sum of {num_members} members; "
                f"use one of {WIDTHS} bits, or a smaller max_cohort"
            )
        self.reach = step_multiple
        if self.levels <= _NARROW_LEVELS:
            self.reach = min(self.reach, _NARROW_MULTIPLE)
        self.step: F64 = self.reach * scales.radius / self.levels
        self.levels_per_radius = self.levels / self.reach
        self.signs = signs

    def encoder(self, factor: float, decay: float, noise: Noise) -> "_Encoder":
        """See `TileCodec`."""
        return _Encoder(self, factor, decay, noise)

    def total(self, num_blocks: int) -> Total:
        """See `TileCodec`."""
        return np.zeros(num_blocks * BLOCK, ring_dtype(self.bits))  # K sums fit: see `levels`

    def add(self, total: Total, payload: bytes) -> Total:
        """See `TileCodec`."""
        q = self._values(payload, len(total))
        low, high = int(q.min()), int(q.max())
        if low < -self.levels or high > self.levels:
            raise BadUpdateError(f"values from {low} to {high}, beyond +-{self.levels}")
        total += q
        return total

    def pack(self, total: Total) -> bytes:
        """See `TileCodec`."""
        return pack(total, self.bits)

    def mean(self, first: int, last: int, payload: bytes, sum_v: int) -> F32:
        """See `TileCodec`."""
        n = unpack(payload, self.bits).reshape(-1, BLOCK)
        factor = self.step[first:last, None] * ONE / (64 * sum_v)
        mean = rotate_exactly(n, self.bits)
        with np.errstate():
            shorten_loops()
            mean *= self.signs
            mean *= factor.astype(np.float32)
        return mean

    def squares(self, first: int, last: int, payload: bytes) -> F64:
        """See `TileCodec`."""
        n = unpack(payload, self.bits).reshape(-1, BLOCK)
        step = self.step[first:last]
        return exact_squares(n) * step * step

    def rounding_bound(self) -> float:
        """See `TileCodec`: less than one step per value."""
        return math.sqrt(BLOCK * math.fsum((self.step * self.step).tolist()))

    def _values(self, payload: bytes, num: int) -> Ring:
        if len(payload) != num * self.bits // 8:
            raise BadUpdateError(f"{len(payload)} bytes, must be {num * self.bits // 8}")
        return unpack(payload, self.bits)


class _Encoder:
    """Works in two buffers of one tile, `difference` among them: no step makes a new one."""

    def __init__(self, codec: Dense, factor: float, decay: float, noise: Noise) -> None:
        self._codec, self._noise = codec, noise
        self._weights = codec.signs * np.float32(factor)
        self._decay = np.float32(decay)
        self._to_fine: F32 = (_FINE / codec.step).astype(np.float32)[:, None]
        self._from_fine: F32 = codec.step.astype(np.float32)[:, None] / np.float32(_FINE)
        self._fine_square = np.float32((_FINE * codec.levels_per_radius) ** 2)  # of one radius
        self._least = np.int32(_ROUNDED_ZERO - codec.levels)
        self._most = np.int32(_ROUNDED_ZERO + codec.levels)
        self._y: F32 = np.empty((0, BLOCK), np.float32)

    def encode(
        self, block: int, difference: F32, residual: F32 | None, payload: Writable
    ) -> Encoded:
        """See `TileEncoder`."""
        blocks = slice(block, block + len(difference))
        with np.errstate(over="ignore"):  # infinite: clipped, and energy at its cap
            shorten_loops()
            y, square = self._rotated(blocks, difference, residual)
            fine = difference  # y in units of a fine step
            fine += self._noise.uniform(block * BLOCK, fine.size).reshape(fine.shape)
            fine += _ROUNDER
            q = fine.view(np.int32)  # in the order of the floats, infinite ones too
            q.clip(self._least, self._most, out=q)
            pack_into(q.reshape(-1), self._codec.bits, payload)
            fine -= _ROUNDER
            fine *= self._from_fine[blocks]
            y -= fine
        return Encoded(y, square)

    def square(self, block: int, difference: F32, residual: F32 | None) -> F32:
        """Return `Encoded.square` of a tile that does not travel; arguments as in `encode`.

        Nobody has measured it: what is absurdly large overflows, and is infinite or NaN.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            shorten_loops()
            return self._rotated(slice(block, block + len(difference)), difference, residual)[1]

    def _rotated(self, blocks: slice, difference: F32, residual: F32 | None) -> tuple[F32, F32]:
        """Return y and its square; `difference` becomes y in units of a fine step."""
        if len(self._y) < len(difference):
            self._y = np.empty_like(difference)
        y, fine = self._y[: len(difference)], difference
        rotate(difference, self._weights, out=y)
        if residual is not None:
            np.multiply(residual, self._decay, out=fine)
            y += fine
        np.multiply(y, self._to_fine[blocks], out=fine)
        square: F32 = np.vecdot(fine, fine)
        square /= self._fine_square
        return y, square
