"""Which blocks of the vector travel in one round, and in which order they lie on the wire.

Wire block i is the vector's block `blocks[i]`; both ascend. What does not travel stays as it is
everywhere: in the head, in a worker's parameters (which drift on from the base) and in its
residual. Every party computes the same selection from the run's genesis and the round's base.
"""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.schema import BLOCK, SEGMENT

I64 = npt.NDArray[np.int64]

_PER_SEGMENT = SEGMENT // BLOCK


@dataclass(frozen=True, slots=True)
class Selection:
    """See the module docstring.

    Args:
        blocks: that travel, ascending, int64[num_sent].
        num_blocks: of the vector.
    """

    blocks: I64
    num_blocks: int

    @property
    def is_whole(self) -> bool:
        """Whether everything travels."""
        return len(self.blocks) == self.num_blocks

    @property
    def rest(self) -> I64:
        """The blocks that do not travel, ascending, int64[num_blocks - num_sent]."""
        stays = np.ones(self.num_blocks, bool)
        stays[self.blocks] = False
        return np.flatnonzero(stays)

    def within(self, start: int, stop: int) -> tuple[int, int]:
        """Return the wire blocks that lie between two values of the vector, whole blocks apart."""
        first, last = np.searchsorted(self.blocks, (start // BLOCK, -(-stop // BLOCK)))
        return int(first), int(last)

    def runs(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Yield (start, stop), in values of the vector, of wire blocks `first` to `last`, in order.

        A run is as long as it can be within one segment.
        """
        yield from runs(self.blocks[first:last])


def runs(blocks: I64) -> Iterator[tuple[int, int]]:
    """Yield (start, stop), in values, of consecutive blocks; a run stays within one segment."""
    if not len(blocks):
        return
    first, last = int(blocks[0]), int(blocks[-1])
    if last - first == len(blocks) - 1 and first // _PER_SEGMENT == last // _PER_SEGMENT:
        yield first * BLOCK, (last + 1) * BLOCK
        return
    breaks = np.diff(blocks) != 1
    breaks |= np.diff(blocks // _PER_SEGMENT) != 0
    starts = np.concatenate([[0], np.flatnonzero(breaks) + 1, [len(blocks)]]).tolist()
    for a, b in itertools.pairwise(starts):
        yield int(blocks[a]) * BLOCK, (int(blocks[b - 1]) + 1) * BLOCK


def whole(num_blocks: int) -> Selection:
    """Return the selection of everything."""
    return Selection(np.arange(num_blocks), num_blocks)


def permutation(label: str, num: int) -> I64:
    """Return a permutation of 0..num-1 that everybody draws alike: SHAKE-256 keys, sorted."""
    stream = hashlib.shake_256(f"crosscloud/1/{label}".encode()).digest(8 * num)
    return np.argsort(np.frombuffer(stream, "<u8"), kind="stable")
