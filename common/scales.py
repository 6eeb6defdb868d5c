"""The scales of a round, and how a commit moves them.

R_B is a block's typical size per unit of a (the cohort's summed learning rate); C is the longest
update that is not clipped, per unit of one worker's summed learning rate. Both follow from public
sums alone. Float64 in written order, rounded to float32 once, where the version keeps them.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from common.arrays import F32, F64, I32, U32
from common.schema import BLOCK

GENESIS_SCALE: Final = 0.3  # an Adam step moves a coordinate by about one learning rate
COMMITS_BEFORE_CLIP: Final = 5

_SMALLEST: Final = 2.0**-20
_LARGEST: Final = 2.0**40  # keeps every step a finite float32, whatever a worker sends
_LARGEST_CLIP: Final = 2.0**80
_ENERGY_ONE: Final = 256


@dataclass(frozen=True, slots=True)
class Scales:
    """What one round quantises with.

    Args:
        per_unit: R_B of the version, float32[num_blocks].
        radius: r_B = R_B*a, float64[num_blocks].
        unit: a.
        energy_cap: largest z_B that one member may send: the sum of K stays below 2**31.
    """

    per_unit: F32
    radius: F64
    unit: float
    energy_cap: int

    def of(self, blocks: npt.NDArray[np.int64]) -> "Scales":
        """Return those of some blocks, in their order."""
        return replace(self, per_unit=self.per_unit[blocks], radius=self.radius[blocks])


def levels(bits: int, num_members: int) -> int:
    """Return L = floor((2**(bits-1) - 1)/K): the sum of K values in [-L, L] cannot wrap.

    L < 1 means that the ring is too narrow for the cohort; the caller refuses it.
    """
    return int((2 ** (bits - 1) - 1) // num_members)


def round_scales(scales: F32, unit: float, num_members: int) -> Scales:
    """Return this round's scales.

    Args:
        scales: R_B of the version, float32[num_blocks].
        unit: a, `Weights.scale`.
        num_members: K, members in the plan.
    """
    return Scales(scales, scales.astype(np.float64) * unit, unit, (2**31 - 1) // num_members)


def energy(square: F32 | F64, cap: int) -> U32:
    """Return z_B = min(round(256*square/4096), cap), uint32[n].

    Args:
        square: squared length of each block in units of r_B; infinite, or NaN where a rotation
            overflowed, is the cap.
        cap: `Scales.energy_cap`.
    """
    z = np.rint(square.astype(np.float64) * (_ENERGY_ONE / BLOCK))
    return np.fmin(z, float(cap)).astype(np.uint32)


def next_scales(used: Scales, energy_sum: U32, num_survivors: int) -> F32:
    """Return R_B of the next version for the watched blocks, float32[n].

    Args:
        used: the round's scales, of the watched blocks.
        energy_sum: sum of z_B over the survivors, of the same blocks, uint32[n].
        num_survivors: at least 1.
    """
    mean = energy_sum.astype(np.float64) / (_ENERGY_ONE * num_survivors)
    moved = used.radius * np.sqrt(mean) / used.unit
    return np.minimum(np.maximum(moved, _SMALLEST), _LARGEST).astype(np.float32)


def next_clip(
    clip: float, commits: int, used: Scales, energy_sum: U32, num_survivors: int, num_clipped: int
) -> float:
    """Return C of the next version, a float32; 0 = off.

    Args:
        clip: C of this version.
        commits: of the next version, from the first on in which every block had travelled: C stays
            off until `COMMITS_BEFORE_CLIP`.
        used: the round's scales, of the blocks that travelled.
        energy_sum: sum of z_B over the survivors, of the same blocks, uint32[n].
        num_survivors: at least 1.
        num_clipped: survivors whose update C clipped.
    """
    if commits < COMMITS_BEFORE_CLIP:
        return 0.0
    if clip == 0:
        squares = used.radius * used.radius * energy_sum.astype(np.float64)
        moved = 2 * math.sqrt(16 * math.fsum(squares.tolist()) / num_survivors) / used.unit
    elif 20 * num_clipped > num_survivors:
        moved = clip * 1.1
    else:
        moved = clip / 1.01
    return float(np.float32(min(moved, _LARGEST_CLIP)))


def exact_squares(x: F32 | I32) -> F64:
    """Return the sum of squares of each row in a fixed order: the same bits everywhere.

    Args:
        x: [n, BLOCK].
    """
    y = x.astype(np.float64)
    y *= y
    while y.shape[1] > 1:
        half = y.shape[1] // 2
        y = y[:, :half] + y[:, half:]
    return y[:, 0]
