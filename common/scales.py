"""The scales of a round, and how a commit moves them.

R_B is a block's typical size per unit of a (the cohort's summed learning rate); C is the longest
update that is not clipped, per unit of one worker's summed learning rate. Both follow from public
sums alone. Float64 in written order, rounded to float32 once, where the version keeps them.

A block is measured in the rounds in which it travels, and in no other: what waits in a worker is
one cloud's work, travels later, and must not be told twice. Where blocks wait for unequal times
(codecs randk and heavy), a version counts the rounds of drift that each R_B stands for; R_B grows
with their power of 3/4, and begins again at one round's worth once its block has travelled.
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
_ABOVE: Final = 1 + 2.0**-11  # makes up for some 4100 roundings to float32


@dataclass(frozen=True, slots=True)
class Scales:
    """What one round quantises with.

    Args:
        per_unit: R_B of the version, float32[num_blocks].
        drift: d_B, rounds whose work R_B stands for, float32[num_blocks]; ones where all blocks
            wait equally long.
        radius: r_B = R_B*a, float64[num_blocks].
        unit: a.
        energy_cap: largest z_B that one member may send: the sum of K stays below 2**31.
    """

    per_unit: F32
    drift: F32
    radius: F64
    unit: float
    energy_cap: int

    def of(self, blocks: npt.NDArray[np.int64]) -> "Scales":
        """Return those of some blocks, in their order."""
        return replace(
            self,
            per_unit=self.per_unit[blocks],
            drift=self.drift[blocks],
            radius=self.radius[blocks],
        )


def levels(bits: int, num_members: int) -> int:
    """Return L = floor((2**(bits-1) - 1)/K): the sum of K values in [-L, L] cannot wrap.

    L < 1 means that the ring is too narrow for the cohort; the caller refuses it.
    """
    return int((2 ** (bits - 1) - 1) // num_members)


def round_scales(scales: F32, unit: float, num_members: int, drift: F32 | None = None) -> Scales:
    """Return this round's scales.

    Args:
        scales: R_B of the version, float32[num_blocks].
        unit: a, `Weights.scale`.
        num_members: K, members in the plan.
        drift: d_B of the version, float32[num_blocks]; None = ones.
    """
    if drift is None:
        drift = np.ones_like(scales)
    most = (2**31 - 1) // num_members
    return Scales(scales, drift, scales.astype(np.float64) * unit, unit, most)


def energy(square: F32 | F64, cap: int) -> U32:
    """Return z_B = min(ceil((1 + 2**-11)*256*square/4096), cap), uint32[n].

    Below its cap it is no less than what it measures, for whoever compares it with a limit.

    Args:
        square: squared length of each block in units of r_B, added in float32; infinite, or NaN
            where a rotation overflowed, is the cap.
        cap: `Scales.energy_cap`.
    """
    z = np.ceil(square.astype(np.float64) * (_ENERGY_ONE / BLOCK * _ABOVE))
    return np.fmin(z, float(cap)).astype(np.uint32)


def next_scales(used: Scales, energy_sum: U32, num_survivors: int) -> F32:
    """Return R_B of the next version for the blocks that travelled, float32[n].

    Args:
        used: the round's scales, of these blocks.
        energy_sum: sum of z_B over the survivors, of the same blocks, uint32[n].
        num_survivors: at least 1.
    """
    mean = energy_sum.astype(np.float64) / (_ENERGY_ONE * num_survivors)
    return _within(used.radius * np.sqrt(mean) / used.unit / _growth(used.drift))


def drifting_scales(
    used: Scales, sent: npt.NDArray[np.int64], measured: F32, commits: int
) -> tuple[F32, F32]:
    """Return R_B and d_B of the next version where blocks wait for unequal times.

    What has never travelled is expected to move as what just did.

    Args:
        used: the round's scales, of all blocks.
        sent: the blocks that travelled.
        measured: their R_B of the next version, float32[num_sent].
        commits: of the round's base.
    """
    after = used.drift + 1
    scales = used.per_unit * (_growth(after) / _growth(used.drift))
    moved = measured[measured > _SMALLEST].astype(np.float64)
    if len(moved):
        usual = math.sqrt(math.fsum((moved * moved).tolist()) / len(moved))
        never = used.drift > commits
        scales[never] = usual * _growth(after[never])
    grown = _within(scales)
    grown[sent], after[sent] = measured, 1
    return grown, after


def _growth(drift: F32) -> F64:
    """Return n**(3/4), by square roots: every machine rounds those alike.

    Drift grows about linearly with its rounds, the residual that is added to it does not.
    """
    root = np.sqrt(drift.astype(np.float64))
    return root * np.sqrt(root)


def _within(scales: F64) -> F32:
    return np.minimum(np.maximum(scales, _SMALLEST), _LARGEST).astype(np.float32)


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
