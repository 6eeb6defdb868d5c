"""Aggregates as they are sent: compressed once, at their commit, and kept beside the file.

    <digest>.zst    its parts' frames, one after the other; then uint32 little-endian: their sizes

It is never needed: where it is missing or damaged, or does not pay, the file itself is sent. So
nothing that goes wrong here stops anything. It goes with its file (`DataStore.retain`).
"""

import logging
import os
from itertools import accumulate
from pathlib import Path
from typing import Final

import numpy as np

from common.errors import OutOfDescriptorsError, StorageError
from common.ids import Digest
from services.disk.data_store import COMPRESSED_SUFFIX, DataStore
from services.disk.files import Draft, read_at
from services.wire.compression import PART_BYTES, Compressor, part_bytes

log = logging.getLogger(__name__)

_LEAST_BYTES: Final = 2**16
"""Smaller files are one message in any case."""

_MOST_RATIO: Final = 15 / 16
_TRIED_BYTES: Final = 16 * PART_BYTES
"""After so many bytes that compressed no better than `_MOST_RATIO`, the rest is not tried."""

_SIZES: Final = np.dtype("<u4")


class CompressedFiles:
    """The compressed copies of files in a data store."""

    def __init__(self, store: DataStore) -> None:
        self._store = store

    def compress(self, digest: Digest) -> None:
        """Keep a file compressed as well, if that pays."""
        try:
            self._compress(digest)
        except (StorageError, OutOfDescriptorsError) as e:
            log.warning("file %s... is sent as it is: %s", digest[:16], e)

    def _compress(self, digest: Digest) -> None:
        total = self._store.size(digest)
        if total < _LEAST_BYTES:
            return
        compressor, sizes, done = Compressor(), [], 0
        with Draft(self._store.root, "compressed") as draft:
            for offset in range(0, total, PART_BYTES):
                part = self._store.read_slice(digest, offset, part_bytes(offset, total))
                frame = compressor.compress(part)
                draft.append(frame)
                sizes.append(len(frame))
                done += len(part)
                is_last = done == total
                if (is_last or done >= _TRIED_BYTES) and draft.length > _MOST_RATIO * done:
                    return
            draft.append(np.array(sizes, _SIZES).tobytes())
            draft.rename(self._path(digest))

    def open(self, digest: Digest, total: int) -> "CompressedFile | None":
        """Return the compressed copy of a file of `total` bytes, None if there is none."""
        index_bytes = -(-total // PART_BYTES) * _SIZES.itemsize
        path = self._path(digest)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return None
        index = _read(path, size - index_bytes, index_bytes) if size > index_bytes else None
        if index is None:
            return None
        sizes = np.frombuffer(index, _SIZES).tolist()
        return CompressedFile(path, sizes) if sum(sizes) + index_bytes == size else None

    def _path(self, digest: Digest) -> Path:
        return self._store.path(digest).with_suffix(COMPRESSED_SUFFIX)


class CompressedFile:
    """The frames of one file.

    Args:
        sizes: of the frames in bytes, in order.
    """

    def __init__(self, path: Path, sizes: list[int]) -> None:
        self._path = path
        self._boundaries = [0, *accumulate(sizes)]

    def frame(self, offset: int) -> bytes | None:
        """Return the frame of the part at byte `offset` of the file; None if none begins there."""
        index, rest = divmod(offset, PART_BYTES)
        if rest:
            return None
        start, stop = self._boundaries[index : index + 2]
        return _read(self._path, start, stop - start)


def _read(path: Path, offset: int, length: int) -> bytes | None:
    """Return `length` bytes; None where they are not there any more."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        content = read_at(fd, offset, length)
    except OSError:
        return None
    finally:
        os.close(fd)
    return content if len(content) == length else None
