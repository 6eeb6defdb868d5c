"""Selects the blocks that should have moved most: those with the largest scales.

What everybody knows needs no index bytes. As in `cyclic.py` a worker's parameters drift on where
they were not sent. How far is nobody's to tell (`common/scales.py`): a scale was measured when its
block last travelled, and grows by rule from then on, so that a light block's turn comes in time.

Wire size: max(1, num_blocks // one_in) blocks of dense values.
"""

import numpy as np

from common.arrays import F32
from common.codec.randk import num_sent
from common.codec.selection import Selection, permutation


def selected(scales: F32, one_in: int, seed: int) -> Selection:
    """Return the blocks of a round; of equal ones those that a permutation has first.

    Args:
        scales: R_B of the round's base, float32[num_blocks].
        seed: of the run.
    """
    order = np.lexsort((permutation(f"heavy/{seed}", len(scales)), -scales))
    blocks = np.sort(order[: num_sent(len(scales), one_in)])
    return Selection(blocks, len(scales))
