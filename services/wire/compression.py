"""Compresses files for the wire, part by part: each part is a Zstandard frame of its own.

So a download goes on at any part, and nobody holds more than one. Only what everybody may read is
compressed, sums above all: how far something shrinks tells an eavesdropper how it is distributed.
Masked values are uniform and would only grow.

Who decompresses believes no frame: its size is known before, and another one is refused unread.
"""

from typing import Final

import zstandard

from common.errors import DamagedDataError
from common.foreign import foreign

PART_BYTES: Final = 2**20
"""Of a file, but for its last part."""

_LEVEL: Final = 1
"""Higher ones look for repetitions, of which sums have none (`python -m benchmarks.down`)."""


class Compressor:
    """Compresses parts; for one thread."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)

    def compress(self, part: bytes) -> bytes:
        """Return a part as a frame."""
        return self._compressor.compress(part)


def decompress(frame: bytes | memoryview, num_bytes: int) -> bytes:
    """Return the part of so many bytes that a frame holds.

    Raises:
        DamagedDataError: it does not hold just that.
    """
    with foreign("a frame", DamagedDataError):
        found = zstandard.get_frame_parameters(frame)
        if (found.content_size, found.dict_id) != (num_bytes, 0):
            raise DamagedDataError(f"a frame of {found.content_size} bytes, must be {num_bytes}")
        part = zstandard.ZstdDecompressor().decompress(
            frame, max_output_size=num_bytes, allow_extra_data=False
        )
    if len(part) != num_bytes:
        raise DamagedDataError(f"a frame holds {len(part)} bytes, must be {num_bytes}")
    return part


def part_bytes(offset: int, total: int) -> int:
    """Return how many bytes a file of `total` has from `offset` to the end of that part."""
    return min(PART_BYTES - offset % PART_BYTES, total - offset)
