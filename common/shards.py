"""How one update lies on the wire, and where its shards are cut.

    data section      block after block, those that travel: bits/8 bytes a value, or as sparse
    (hole)            up to the next multiple of `shard_bytes`; belongs to no shard, never sent
    side values       3 x uint64 (V, loss, clipped), then z_B as uint32 per block that travels,
                      zeros up to a multiple of 48 bytes; all little-endian
    (hole)
    tags section      masked tier only: per shard of the two sections above, two uint64: the public
                      tag and the secret one; zeros up to a multiple of 48 bytes

Shard i is what lies between i * shard_bytes and the next multiple; the last of a section may be
short. A data shard holds whole blocks: `shard_bytes` is SHARD_BYTES at every ring width, and what
fits of whole blocks where they are sparse.

An aggregate is the summed data section (of sparse blocks the survivors', beside each other), the
sums of z_B as uint32, and in the masked tier the sums of the tags; no hole, no side values.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from common.arrays import U32
from common.documents import SideValues
from common.errors import BadUpdateError
from common.schema import BLOCK

SHARD_BYTES: Final = 983040
"""240 * 4096: a multiple of 48 and of a block at 4, 8, 12, 16 and 32 bits."""

_ALIGNMENT: Final = 48
_SIDE: Final = np.dtype("<u8")
_ENERGY: Final = np.dtype("<u4")

ShardBytes = bytes | bytearray
"""A shard's bytes; whoever makes it does not keep it."""

TAGS_BYTES: Final = 16
"""Of one shard: its public and its secret tag."""

SIDE_HEAD_BYTES: Final = 3 * _SIDE.itemsize
"""V, loss, clipped; what follows of the side values is 32-bit."""


@dataclass(frozen=True, slots=True)
class PayloadLayout:
    """The layout of an update of `length` values (a multiple of BLOCK) at `bits` per value.

    Args:
        length: values that travel, or that those which do are picked from.
        masked: whether there are tags.
        sparse_bytes: bytes of a block of which only some values travel; 0 = all do.
    """

    length: int
    bits: int
    masked: bool = False
    sparse_bytes: int = 0

    @property
    def num_blocks(self) -> int:
        """Blocks that travel."""
        return self.length // BLOCK

    @property
    def block_bytes(self) -> int:
        """Bytes of one block in the data section."""
        return self.sparse_bytes or BLOCK * self.bits // 8

    @property
    def shard_bytes(self) -> int:
        """Bytes of every data shard but the last: whole blocks."""
        return SHARD_BYTES // self.block_bytes * self.block_bytes

    @property
    def data_bytes(self) -> int:
        """Bytes of the data section."""
        return self.num_blocks * self.block_bytes

    @property
    def side_offset(self) -> int:
        """Where the side values begin: the next shard boundary."""
        return _rounded_up(self.data_bytes, self.shard_bytes)

    @property
    def side_bytes(self) -> int:
        """Bytes of the side values, padding included."""
        size = SIDE_HEAD_BYTES + self.energy_bytes
        return _rounded_up(size, _ALIGNMENT)

    @property
    def tags_offset(self) -> int:
        """Where the tags section begins, or would: the next shard boundary."""
        return _rounded_up(self.side_offset + self.side_bytes, self.shard_bytes)

    @property
    def num_tagged(self) -> int:
        """Shards of values and side values: those that have tags."""
        return self.tags_offset // self.shard_bytes

    @property
    def tags_bytes(self) -> int:
        """Bytes of the tags section; 0 where there is none."""
        return _rounded_up(self.num_tagged * TAGS_BYTES, _ALIGNMENT) if self.masked else 0

    @property
    def total_bytes(self) -> int:
        """Size of a spooled payload, its holes included."""
        end_of_side_values = self.side_offset + self.side_bytes
        return self.tags_offset + self.tags_bytes if self.masked else end_of_side_values

    @property
    def sent_bytes(self) -> int:
        """Bytes that one upload sends."""
        return self.data_bytes + self.side_bytes + self.tags_bytes

    @property
    def energy_bytes(self) -> int:
        """Bytes of the sums of z_B in an aggregate."""
        return self.num_blocks * _ENERGY.itemsize

    def aggregate_block_bytes(self, num_survivors: int) -> int:
        """Return the bytes of one block in an aggregate: sparse ones lie beside each other."""
        return self.block_bytes * (num_survivors if self.sparse_bytes else 1)

    def aggregate_bytes(self, num_survivors: int) -> int:
        """Return the size of an aggregate file."""
        tags_bytes = self.num_tagged * TAGS_BYTES if self.masked else 0
        data_bytes = self.num_blocks * self.aggregate_block_bytes(num_survivors)
        return data_bytes + self.energy_bytes + tags_bytes

    @property
    def num_data_shards(self) -> int:
        """Shards of values."""
        return self.side_offset // self.shard_bytes

    @property
    def side_shards(self) -> range:
        """Indices of the side values' shards."""
        return range(self.num_data_shards, self.num_tagged)

    @property
    def num_shards(self) -> int:
        """Shards of one upload."""
        return _rounded_up(self.total_bytes, self.shard_bytes) // self.shard_bytes

    def shard(self, index: int) -> tuple[int, int]:
        """Return (offset, length) of a shard, in bytes.

        Raises:
            BadUpdateError: there is no such shard.
        """
        if not 0 <= index < self.num_shards:
            raise BadUpdateError(
                f"shard {index}: this update has shards 0 to {self.num_shards - 1}"
            )
        offset = index * self.shard_bytes
        end = self.total_bytes
        if offset < self.side_offset:
            end = self.data_bytes
        elif offset < self.tags_offset:
            end = self.side_offset + self.side_bytes
        return offset, min(self.shard_bytes, end - offset)

    def within_side_values(self, index: int) -> slice:
        """Return which of the side values' bytes a shard of them holds.

        Raises:
            BadUpdateError: there is no such shard, or it holds no side values.
        """
        offset, length = self.shard(index)
        start = offset - self.side_offset
        if not 0 <= start < self.side_bytes:
            raise BadUpdateError(f"shard {index} holds no side values")
        return slice(start, start + length)


def cut(section: bytes, layout: PayloadLayout) -> Iterator[bytes]:
    """Yield the shards of a whole section; the last may be short."""
    for at in range(0, len(section), layout.shard_bytes):
        yield section[at : at + layout.shard_bytes]


def pack_side_values(side: SideValues, energy: U32) -> bytes:
    """Return the side values as they are sent.

    Args:
        side: of one member.
        energy: z_B, uint32[num_blocks].
    """
    head = np.array([side.v, side.loss_2_20, side.clipped], _SIDE).tobytes()
    content = head + energy.astype(_ENERGY).tobytes()
    return content + bytes(-len(content) % _ALIGNMENT)


def unpack_side_values(content: bytes, layout: PayloadLayout) -> tuple[SideValues, U32]:
    """Return the side values and z_B, uint32[num_blocks].

    Raises:
        BadUpdateError: wrong length, or the padding is not zero.
    """
    if len(content) != layout.side_bytes:
        raise BadUpdateError(f"side values have {len(content)} bytes, must be {layout.side_bytes}")
    v, loss_2_20, clipped = np.frombuffer(content, _SIDE, 3).tolist()
    used = SIDE_HEAD_BYTES + layout.energy_bytes
    if any(content[used:]):
        raise BadUpdateError("the padding of the side values is not zero")
    return SideValues(v, loss_2_20, clipped), unpack_energy(content[SIDE_HEAD_BYTES:used])


def pack_tags(tags: Iterable[tuple[int, ...]], layout: PayloadLayout) -> bytes:
    """Return the tags section: (public, secret) of each shard in order."""
    content = pack_tag_sums(tags)
    return content + bytes(layout.tags_bytes - len(content))


def pack_tag_sums(tags: Iterable[tuple[int, ...]]) -> bytes:
    """Return (public, secret) of each shard in order as they lie in an aggregate."""
    return np.array(list(tags), _SIDE).tobytes()


def unpack_tags(content: bytes, layout: PayloadLayout) -> list[tuple[int, ...]]:
    """Return (public, secret) of each shard in order.

    Args:
        content: the tags section, or the tags of an aggregate.
    """
    tags = np.frombuffer(content[: layout.num_tagged * TAGS_BYTES], _SIDE).reshape(-1, 2)
    return [tuple(pair) for pair in tags.tolist()]


def pack_energy(energy: U32) -> bytes:
    """Return uint32 little-endian."""
    return energy.astype(_ENERGY).tobytes()


def unpack_energy(content: bytes) -> U32:
    """Return uint32[len/4]; writable."""
    return np.frombuffer(content, _ENERGY).astype(np.uint32)


def _rounded_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
