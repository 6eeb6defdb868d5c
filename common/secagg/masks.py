"""Masks: what hides one member's values, side values and tags, and what is left of them in a sum.

    Y_i = x_i + PRG(self_i) + sum_{j>i} PRG(pair_ij) - sum_{j<i} PRG(pair_ij)     over U2, by name
    sum over S of Y_i = sum of x_i + sum over S of PRG(self_i)
                        + sum over i in S, j lost: PRG(pair_ij) if j > i else -PRG(pair_ij)

(Bonawitz et al. 2017, figure 4.) `member_masks` makes the first line's, which a member adds;
`remaining_masks` the second's, which the coordinator subtracts. Three streams of each seed: "data"
for the words of the data section, "side-values" for those, "tag" for the tags of each shard.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from common.arrays import U8
from common.ids import WorkerId
from common.keystream import TILE_BYTES
from common.secagg.labels import StreamPurpose
from common.secagg.ring import Ring, Words
from common.secagg.streams import Stream
from common.shards import SIDE_HEAD_BYTES

NUM_TAGS: Final = 2
"""Per shard: the public and the secret one; together one AES block of the stream "tag"."""


class Masks:
    """A signed sum of streams. Not for two threads at once.

    Args:
        ring: of the round.
        plus: seeds of the streams that count positive.
        minus: seeds of those that count negative.
    """

    def __init__(self, ring: Ring, plus: Sequence[bytes], minus: Sequence[bytes]) -> None:
        self._ring = ring
        self._data = _signed(plus, minus, "data")
        self._side_values = _signed(plus, minus, "side-values")
        self._tag = _signed(plus, minus, "tag")
        self._tile = np.empty(TILE_BYTES, np.uint8)

    def add(self, words: Words, offset: int) -> None:
        """Add the masks to ring words in place.

        Args:
            words: of part of the data section, say of one shard.
            offset: where that part begins in the packed data section, in bytes.
        """
        self._apply_to_words(words, offset, add=True)

    def subtract(self, words: Words, offset: int) -> None:
        """Subtract what `add` adds."""
        self._apply_to_words(words, offset, add=False)

    def add_side_values(self, content: U8, offset: int) -> None:
        """Add the masks to side values in place: modulo 2**64 in the head, 2**32 in what follows.

        Args:
            content: uint8[n], a shard of the side values; the padding is masked too.
            offset: where it begins among the side values, in bytes.
        """
        self._apply_to_side_values(content, offset, add=True)

    def subtract_side_values(self, content: U8, offset: int) -> None:
        """Subtract what `add_side_values` adds."""
        self._apply_to_side_values(content, offset, add=False)

    def add_tags(self, shard: int, tags: Sequence[int]) -> tuple[int, ...]:
        """Return a shard's tags plus their masks, modulo 2**64.

        Args:
            shard: its index.
            tags: the public and the secret one.
        """
        return self._with_tag_masks(shard, tags, add=True)

    def subtract_tags(self, shard: int, tags: Sequence[int]) -> tuple[int, ...]:
        """Return a shard's tags minus their masks, modulo 2**64."""
        return self._with_tag_masks(shard, tags, add=False)

    def _apply_to_words(self, words: Words, offset: int, *, add: bool) -> None:
        if words.dtype != self._ring.word:
            raise ValueError(f"words are {words.dtype}, must be {self._ring.word}")
        self._apply(self._data, words, self._ring.stream_offset(offset), add=add)

    def _apply(
        self, streams: "_Signed", words: npt.NDArray[Any], offset: int, *, add: bool
    ) -> None:
        step = TILE_BYTES // words.itemsize
        for start in range(0, len(words), step):
            part = words[start : start + step]
            tile = self._tile[: part.nbytes]
            mask = tile.view(part.dtype)
            for stream, positive in streams:  # each goes on where its last tile ended
                stream.fill(tile, offset + start * words.itemsize)
                if positive == add:
                    np.add(part, mask, out=part)
                else:
                    np.subtract(part, mask, out=part)

    def _apply_to_side_values(self, content: U8, offset: int, *, add: bool) -> None:
        head = max(0, min(SIDE_HEAD_BYTES - offset, len(content)))
        self._apply(self._side_values, content[:head].view("<u8"), offset, add=add)
        self._apply(self._side_values, content[head:].view("<u4"), offset + head, add=add)

    def _with_tag_masks(self, shard: int, tags: Sequence[int], *, add: bool) -> tuple[int, ...]:
        words = np.array(tags, "<u8")
        if len(words) != NUM_TAGS:
            raise ValueError(f"{len(words)} tags, a shard has {NUM_TAGS}")
        self._apply(self._tag, words, shard * words.nbytes, add=add)
        return tuple(words.tolist())


_Signed = tuple[tuple[Stream, bool], ...]


def _signed(plus: Sequence[bytes], minus: Sequence[bytes], purpose: StreamPurpose) -> _Signed:
    streams = [(Stream(seed, purpose), True) for seed in plus]
    return (*streams, *((Stream(seed, purpose), False) for seed in minus))


def member_masks(
    ring: Ring, name: WorkerId, self_seed: bytes, pair_seeds: Mapping[WorkerId, bytes]
) -> Masks:
    """Return what member `name` adds.

    Args:
        ring: of the round.
        name: this member's.
        self_seed: 32 bytes.
        pair_seeds: of this member with each other member of U2.
    """
    if name in pair_seeds:
        raise ValueError(f"{name} has a pair seed with itself")
    plus = [seed for other, seed in sorted(pair_seeds.items()) if other > name]
    minus = [seed for other, seed in sorted(pair_seeds.items()) if other < name]
    return Masks(ring, [self_seed, *plus], minus)


def remaining_masks(
    ring: Ring,
    self_seeds: Mapping[WorkerId, bytes],
    pair_seeds: Mapping[WorkerId, Mapping[WorkerId, bytes]],
) -> Masks:
    """Return what the sum of the survivors' masked values holds beside their values.

    Args:
        ring: of the round.
        self_seeds: of exactly the survivors.
        pair_seeds: by lost member of U2, its pair seed with every survivor.
    """
    survivors = self_seeds.keys()
    plus, minus = list(self_seeds.values()), list[bytes]()
    for lost, seeds in pair_seeds.items():
        if lost in survivors or seeds.keys() != survivors:
            raise ValueError(f"{lost}: needs one pair seed with every survivor, and to be lost")
        for survivor, seed in seeds.items():
            (plus if lost > survivor else minus).append(seed)
    return Masks(ring, plus, minus)
