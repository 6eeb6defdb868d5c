"""Every value in a ring of b bits: rotated, quantised with stochastic rounding, error fed back.

    y  = H . diag(signs) . (factor * difference) + carried
    q  = clip(stochastic_round(y/step_B), -L, L)          x = q mod 2**b
    e' = y - q*step_B
    mean = signs * float32(H_int . sum q) * c_B           c_B = step_B*65535/(64*sum V)

step_B = m*r_B/L in float64; workers and `mean` round it, or c_B, to float32 once.
"""

import math
from typing import Final

import numpy as np

from common.arrays import F32, F64, I32
from common.codec import Encoded, Total
from common.codec.noise import Noise
from common.codec.packing import WIDTHS, pack, unpack
from common.errors import BadUpdateError, ConfigError
from common.rotation import rotate, rotate_exactly
from common.scales import Scales, energy, exact_squares, levels
from common.schema import BLOCK
from common.weight import ONE

_FINE: Final = 2**16  # noise steps per quantisation step
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
        multiple = step_multiple
        if self.levels <= _NARROW_LEVELS:
            multiple = min(multiple, _NARROW_MULTIPLE)
        self._step: F64 = multiple * scales.radius / self.levels
        self._levels_per_radius = self.levels / multiple
        self._cap = scales.energy_cap
        self._signs = signs

    @property
    def step(self) -> F64:
        """step_B, float64[num_blocks]; on the wire it is rounded to float32 once."""
        return self._step

    def encode(
        self, block: int, difference: F32, factor: float, carried: F32 | None, noise: Noise
    ) -> Encoded:
        """See `TileCodec`."""
        num_blocks = len(difference)
        step = self._step[block : block + num_blocks, None]
        y = rotate(difference, self._signs, factor)
        if carried is not None:
            y += carried
        with np.errstate(over="ignore"):  # infinite here means clipped, and energy at its cap
            fine = y * (_FINE / step).astype(np.float32)
            square = np.vecdot(fine, fine)
        z = energy(square / np.float32((_FINE * self._levels_per_radius) ** 2), self._cap)
        np.clip(fine, -self.levels * _FINE, self.levels * _FINE, out=fine)
        q = fine.astype(np.int32)  # now floor((fine + noise)/FINE), noise in [0, FINE)
        q += noise.uniform(block * BLOCK, q.size).reshape(q.shape)
        q >>= 16
        np.multiply(q, step.astype(np.float32), out=fine, dtype=np.float32, casting="unsafe")
        y -= fine
        return Encoded(pack(q.reshape(-1), self.bits), y, z)

    def total(self, num_blocks: int) -> Total:
        """See `TileCodec`."""
        return np.zeros(num_blocks * BLOCK, np.int32)

    def add(self, total: Total, payload: bytes) -> None:
        """See `TileCodec`."""
        q = self._values(payload, len(total))
        low, high = int(q.min()), int(q.max())
        if low < -self.levels or high > self.levels:
            raise BadUpdateError(f"values from {low} to {high}, beyond +-{self.levels}")
        total += q

    def pack(self, total: Total) -> bytes:
        """See `TileCodec`."""
        return pack(total, self.bits)

    def mean(self, block: int, payload: bytes, sum_v: int) -> F32:
        """See `TileCodec`."""
        n = unpack(payload, self.bits).reshape(-1, BLOCK)
        factor = self._step[block : block + len(n), None] * ONE / (64 * sum_v)
        mean = rotate_exactly(n, self.bits)
        mean *= self._signs
        mean *= factor.astype(np.float32)
        return mean

    def squares(self, block: int, payload: bytes) -> F64:
        """See `TileCodec`."""
        n = unpack(payload, self.bits).reshape(-1, BLOCK)
        step = self._step[block : block + len(n)]
        return exact_squares(n) * step * step

    def rounding_bound(self) -> float:
        """See `TileCodec`: less than one step per value."""
        return math.sqrt(BLOCK * math.fsum((self._step * self._step).tolist()))

    def _values(self, payload: bytes, num: int) -> I32:
        if len(payload) != num * self.bits // 8:
            raise BadUpdateError(f"{len(payload)} bytes, must be {num * self.bits // 8}")
        return unpack(payload, self.bits)
