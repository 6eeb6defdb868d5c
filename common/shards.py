"""How one update lies on the wire, and where its shards are cut.

    data section      the values, bits/8 bytes each, block after block
    (hole)            up to the next multiple of SHARD_BYTES; belongs to no shard, never sent
    lanes section     3 x uint64 (V, loss, clipped), then z_B as uint32 per block, zeros up to a
                      multiple of 48 bytes; all little-endian

Shard i is what lies between i * SHARD_BYTES and the next multiple: data shards first, of which the
last may be short, then the lanes' shards. A shard holds whole blocks at every ring width.

An aggregate is the summed data section, then the sums of z_B as uint32; no hole, no lanes.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from common.arrays import U32
from common.documents import Lanes
from common.errors import BadUpdateError
from common.schema import BLOCK

SHARD_BYTES: Final = 983040
"""240 * 4096: a multiple of 48 and of a block at 4, 8, 12, 16 and 32 bits."""

_ALIGNMENT: Final = 48
_LANES: Final = np.dtype("<u8")
_ENERGY: Final = np.dtype("<u4")


@dataclass(frozen=True, slots=True)
class PayloadLayout:
    """The layout for a vector of `length` values (a multiple of BLOCK) at `bits` per value."""

    length: int
    bits: int

    @property
    def num_blocks(self) -> int:
        """Blocks in the vector."""
        return self.length // BLOCK

    @property
    def data_bytes(self) -> int:
        """Bytes of the data section."""
        return self.length * self.bits // 8

    @property
    def lanes_offset(self) -> int:
        """Where the lanes section begins: the next shard border."""
        return _rounded_up(self.data_bytes, SHARD_BYTES)

    @property
    def lanes_bytes(self) -> int:
        """Bytes of the lanes section."""
        size = 3 * _LANES.itemsize + self.num_blocks * _ENERGY.itemsize
        return _rounded_up(size, _ALIGNMENT)

    @property
    def total_bytes(self) -> int:
        """Size of a spooled payload, its hole included."""
        return self.lanes_offset + self.lanes_bytes

    @property
    def sent_bytes(self) -> int:
        """Bytes that one upload sends."""
        return self.data_bytes + self.lanes_bytes

    @property
    def aggregate_bytes(self) -> int:
        """Size of an aggregate file."""
        return self.data_bytes + self.num_blocks * _ENERGY.itemsize

    @property
    def num_shards(self) -> int:
        """Shards of one upload."""
        return _rounded_up(self.total_bytes, SHARD_BYTES) // SHARD_BYTES

    def shard(self, index: int) -> tuple[int, int]:
        """Return (offset, length) of a shard, in bytes.

        Raises:
            BadUpdateError: there is no such shard.
        """
        if not 0 <= index < self.num_shards:
            raise BadUpdateError(
                f"shard {index}: this update has shards 0 to {self.num_shards - 1}"
            )
        offset = index * SHARD_BYTES
        end = self.data_bytes if offset < self.lanes_offset else self.total_bytes
        return offset, min(SHARD_BYTES, end - offset)


def pack_lanes(lanes: Lanes, energy: U32) -> bytes:
    """Return the lanes section.

    Args:
        lanes: of one member.
        energy: z_B, uint32[num_blocks].
    """
    head = np.array([lanes.v, lanes.loss_2_20, lanes.clipped], _LANES).tobytes()
    content = head + energy.astype(_ENERGY).tobytes()
    return content + bytes(-len(content) % _ALIGNMENT)


def unpack_lanes(content: bytes, layout: PayloadLayout) -> tuple[Lanes, U32]:
    """Return the lanes and z_B, uint32[num_blocks].

    Raises:
        BadUpdateError: wrong length, or the padding is not zero.
    """
    if len(content) != layout.lanes_bytes:
        raise BadUpdateError(f"lanes have {len(content)} bytes, must be {layout.lanes_bytes}")
    v, loss_2_20, clipped = np.frombuffer(content, _LANES, 3).tolist()
    head = 3 * _LANES.itemsize
    used = head + layout.num_blocks * _ENERGY.itemsize
    if any(content[used:]):
        raise BadUpdateError("the padding of the lanes is not zero")
    return Lanes(v, loss_2_20, clipped), unpack_energy(content[head:used])


def pack_energy(energy: U32) -> bytes:
    """Return uint32 little-endian."""
    return energy.astype(_ENERGY).tobytes()


def unpack_energy(content: bytes) -> U32:
    """Return uint32[len/4]; writable."""
    return np.frombuffer(content, _ENERGY).astype(np.uint32)


def _rounded_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
