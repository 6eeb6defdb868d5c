"""The blocks that moved most: those with the largest scales, which the last sum's lanes told.

What everybody knows needs no index bytes. As in `cyclic.py` a worker's parameters drift on where
they were not sent, so a light block grows heavy in time; z_B is sent of all blocks.

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
    return Selection(blocks, len(scales), watches_all=True)
