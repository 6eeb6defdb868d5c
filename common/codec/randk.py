"""Selects blocks at random, anew in every round, from a seed that everybody knows.

As in `cyclic.py` a worker's parameters drift on where they were not sent. How long that has been
differs from block to block, so a version keeps it, and scales grow by it (`common/scales.py`).

Wire size: max(1, num_blocks // one_in) blocks of dense values.
"""

import numpy as np

from common.codec.selection import Selection, permutation


def num_sent(num_blocks: int, one_in: int) -> int:
    """Return how many blocks travel."""
    return max(1, num_blocks // one_in)


def selected(num_blocks: int, one_in: int, seed: int, commits: int) -> Selection:
    """Return the blocks of a round.

    Args:
        seed: of the run.
        commits: of the round's base.
    """
    drawn = permutation(f"randk/{seed}/{commits}", num_blocks)[: num_sent(num_blocks, one_in)]
    return Selection(np.sort(drawn), num_blocks)
