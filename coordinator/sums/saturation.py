"""How much of the newest sum's values were clipped, as far as the sum itself tells.

No member says how many of its values it clipped. But rotated values are near gaussian, so how many
lie beyond the ring follows from how long the blocks are, and of that the sum says the mean:

    rho_B = sqrt(sum z_B/(256*|S|))             in radii r_B, over the survivors S
    share = mean over B of erfc(m/(rho_B*sqrt 2))

Members whose updates differ in length clip more than this says: erfc of the mean is less than the
mean of erfc, where few values are clipped.
"""

import math
from typing import Final

import numpy as np

from common.arrays import U32

_ENERGY_ONE: Final = 256
"""z of a block whose length is its radius."""


def expected_saturation(energy_sum: U32, num_survivors: int, reach: float) -> float:
    """Return the expected share of values beyond the ring, in [0, 1].

    Args:
        energy_sum: sum of z_B over the survivors of the blocks that travelled, uint32[n], n > 0.
        num_survivors: |S|, at least 1.
        reach: m, where values are clipped, in radii.
    """
    energies, counts = np.unique(energy_sum, return_counts=True)  # of many blocks, few differ
    clipped = math.fsum(
        n * math.erfc(reach / math.sqrt(2 * z / (_ENERGY_ONE * num_survivors)))
        for z, n in zip(energies.tolist(), counts.tolist(), strict=True)
        if z
    )
    return clipped / len(energy_sum)
