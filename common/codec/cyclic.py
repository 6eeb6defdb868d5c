"""Selects one fragment after the other: a permutation of the blocks, cut into F parts.

Every fragment has blocks of all layers, and the rounds take them in turn: commit n moves fragment
n mod F. A worker's parameters go on drifting from the base where they were not sent, so that a
fragment's difference holds all local steps since it last travelled, and nothing waits elsewhere.

Wire size: ceil((num_blocks - f)/F) blocks of dense values.

F is prime (or 1): a worker that is in every p-th cohort still meets every fragment.
"""

import numpy as np

from common.codec.selection import I64, Selection, permutation


def num_sent(num_blocks: int, one_in: int, fragment: int) -> int:
    """Return how many blocks travel."""
    return -(-(num_blocks - fragment) // one_in)


def selected(num_blocks: int, one_in: int, fragment: int, seed: int) -> Selection:
    """Return the blocks of a fragment.

    Args:
        one_in: F.
        fragment: 0 to F - 1.
        seed: of the run.
    """
    blocks = np.sort(permutation(f"cyclic/{seed}", num_blocks)[fragment::one_in])
    return Selection(blocks, num_blocks)


def fragments(num_blocks: int, one_in: int, seed: int) -> I64:
    """Return the fragment of each block, int64[num_blocks]."""
    found = np.empty(num_blocks, np.int64)
    found[permutation(f"cyclic/{seed}", num_blocks)] = np.arange(num_blocks) % one_in
    return found
