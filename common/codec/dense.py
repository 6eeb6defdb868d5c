"""The dense codec: every value in a ring of b bits, rotated, rounded at random, error fed back.

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
from common.errors import BadUpdateError, ConfigError
from common.packing import WIDTHS, Writable, pack, pack_into, ring_dtype, unpack
from common.rotation import rotate_exactly
from common.scales import Scales, exact_squares, levels
from common.schema import BLOCK
from common.weight import ONE

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

    def encoder(self, factor: float, decay: float, noise: Noise) -> "_DenseEncoder":
        """See `TileCodec`."""
        return _DenseEncoder(self, factor, decay, noise)

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


class _DenseEncoder:
    """Works in `difference` itself: what is left of it is the residual."""

    def __init__(self, codec: Dense, factor: float, decay: float, noise: Noise) -> None:
        from common.codec import loops  # only workers have Numba

        self._codec, self._noise, self._loops = codec, noise, loops
        self._weights = codec.signs * np.float32(factor)
        self._decay = np.float32(decay)
        self._to_fine: F32 = (loops.FINE / codec.step).astype(np.float32)
        self._from_fine: F32 = codec.step.astype(np.float32) / np.float32(loops.FINE)
        self._fine_square = np.float32((loops.FINE * codec.levels_per_radius) ** 2)  # of one radius
        self._q: Ring = np.empty((0, BLOCK), ring_dtype(codec.bits))
        self._zeros: F32 = np.empty((0, BLOCK), np.float32)

    def encode(
        self, block: int, difference: F32, residual: F32 | None, payload: Writable
    ) -> Encoded:
        """See `TileEncoder`."""
        num, square = len(difference), np.empty(len(difference), np.float32)
        if len(self._q) < num:
            self._q = np.empty(difference.shape, self._q.dtype)
        q = self._q[:num]
        if residual is None:
            if len(self._zeros) < num:
                self._zeros = np.zeros((num, BLOCK), np.float32)
            residual = self._zeros[:num]
        self._loops.encode(
            difference,
            self._weights,
            residual,
            self._decay,
            self._to_fine[block : block + num],
            square,
            self._from_fine[block : block + num],
            self._noise.uniform(block * BLOCK, difference.size).reshape(difference.shape),
            np.float32(self._codec.levels),
            q,
        )
        pack_into(q.reshape(-1), self._codec.bits, payload)
        return Encoded(difference, square / self._fine_square)
