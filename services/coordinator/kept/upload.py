"""One member's upload on disk: written shard by shard, then read back shard by shard.

Each shard is written at its offset in `<worker>.part`, in any order, and its xxh3-128 in
`<worker>.sums`: 16 bytes per shard, zeros while it is missing. So a broken upload goes on with what
is missing, also after a restart of this process. A complete upload is fsynced and renamed to
`<worker>.done`. The hashes are checked again when shards are read: they find disks that lie, not
workers that do.
"""

import contextlib
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol, Self

from xxhash import xxh3_128_digest

from common.errors import (
    BadUpdateError,
    BusyError,
    DamagedDataError,
    UnknownRoundError,
)
from common.ids import RoundId, WorkerId
from services.disk.files import (
    Bytes,
    begin_write_back,
    forget_cached,
    read_at,
    storage_errors,
    write_at,
)

DONE: Final = ".done"
"""What the name of a complete upload ends in."""

_SUM_BYTES: Final = 16
_LET_GO_S: Final = 5.0  # for a shard that is being written
_MISSING: Final = bytes(_SUM_BYTES)


class ShardLayout(Protocol):
    """How a payload is cut into shards: what is needed of `PayloadLayout`. Offsets ascend."""

    @property
    def num_shards(self) -> int:
        """Shards in the payload."""

    @property
    def sent_bytes(self) -> int:
        """Bytes of all of them."""

    def shard(self, index: int) -> tuple[int, int]:
        """Return (offset, length) of a shard, in bytes; BadUpdateError where there is none."""


class IncomingUpload:
    """One member's upload. `put` is for one stream at a time, see `Spool.receive`."""

    def __init__(
        self, folder: Path, round_id: RoundId, worker: WorkerId, layout: ShardLayout
    ) -> None:
        self._folder = folder
        self._round = round_id
        self._worker = worker
        self._layout = layout
        self._claim = threading.Lock()
        self._end_claimant: Callable[[], object] = _nothing
        self._lock = threading.Lock()  # between a shard being written and the seal
        self._open = True
        self._fds = (-1, -1)  # of .part and .sums, while a stream is open
        if (folder / f"{worker}{DONE}").is_file():
            self._missing: set[int] = set()
            self._sums = _sums(folder, worker, layout)
        else:
            self._sums = self._sound_sums()
            self._missing = {i for i, s in enumerate(self._sums) if s == _MISSING}
        self.missing_bytes = sum(layout.shard(i)[1] for i in self._missing)
        """Still to come; read without the lock, which is held while the disk syncs."""

    def missing(self) -> tuple[int, ...]:
        """Return the indices of the shards that have not arrived, ascending."""
        with self._lock:
            return tuple(sorted(self._missing))

    @property
    def sent_bytes(self) -> int:
        """Size of the whole payload."""
        return self._layout.sent_bytes

    def put(self, index: int, content: Bytes) -> None:
        """Store shard `index`; the last missing one makes the upload complete and durable.

        A shard that comes twice is fine, as long as it is the same.

        Raises:
            BadUpdateError: no such shard, another length, or other content than before.
            UnknownRoundError: the round is over.
            StorageFullError: no space is left; the shard is still missing.
        """
        where = f"shard {index} of {self._worker} in round {self._round}"
        if not 0 <= index < self._layout.num_shards:
            raise BadUpdateError(
                f"{where}: no such shard; expected 0 to {self._layout.num_shards - 1}, got {index}"
            )
        offset, length = self._layout.shard(index)
        found = memoryview(content).nbytes
        if found != length:
            raise BadUpdateError(f"{where}: wrong length; expected {length} bytes, got {found}")
        found_sum = xxh3_128_digest(content)
        with self._lock:
            if not self._open:
                raise UnknownRoundError(f"round {self._round} is over: {where} comes too late")
            if index not in self._missing:
                if self._sums[index] != found_sum:
                    raise BadUpdateError(f"{where}: came before with other content")
                return
            with storage_errors(f"cannot store {where}"):
                write_at(self._fds[0], content, offset)
                begin_write_back(self._fds[0], offset, length)
                write_at(self._fds[1], found_sum, index * _SUM_BYTES)
                if self._missing == {index}:
                    self._complete()
            self._sums[index] = found_sum
            self._missing.remove(index)
            self.missing_bytes -= length

    @contextlib.contextmanager
    def claimed(self, end: Callable[[], object]) -> Iterator[None]:
        """Hold the upload's only stream; `end` makes its holder let go."""
        if not self._claim.acquire(blocking=False):
            raise BusyError(
                f"an upload of {self._worker} for round {self._round} is still running:"
                " try again when it has ended"
            )
        try:
            self._end_claimant = end
            with self._lock:
                self._open_files()
            yield
        finally:
            with self._lock:
                self._close_files()
            self._claim.release()

    def end_stream(self) -> None:
        """End the stream that is open, if there is one, and wait until it let go."""
        if not self._claim.acquire(blocking=False):
            self._end_claimant()
            if not self._claim.acquire(timeout=_LET_GO_S):
                return
        self._claim.release()

    def close(self) -> None:
        """Take no more shards; waits for one that is being written."""
        with self._lock:
            self._open = False

    def _complete(self) -> None:
        for fd in self._fds:
            os.fsync(fd)
        self._part.rename(self._folder / f"{self._worker}{DONE}")

    @property
    def _part(self) -> Path:
        return self._folder / f"{self._worker}.part"

    def _open_files(self) -> None:
        if self._open and self._missing:
            with storage_errors(f"cannot write in {self._folder}"):
                self._fds = (
                    os.open(self._part, os.O_CREAT | os.O_RDWR, 0o600),
                    os.open(_sums_path(self._folder, self._worker), os.O_CREAT | os.O_RDWR, 0o600),
                )

    def _close_files(self) -> None:
        for fd in self._fds:
            if fd >= 0:
                os.close(fd)
        self._fds = (-1, -1)

    def _sound_sums(self) -> list[bytes]:
        """Return the sums of those shards whose bytes are still there.

        After a power cut a sum may be on the disk and its shard not.
        """
        sums = _sums(self._folder, self._worker, self._layout)
        if not self._part.is_file():
            return [_MISSING] * len(sums)
        with storage_errors(f"cannot read {self._part}"), self._part.open("rb") as part:
            for index, expected in enumerate(sums):
                if expected != _MISSING:
                    content = read_at(part.fileno(), *self._layout.shard(index))
                    if xxh3_128_digest(content) != expected:
                        sums[index] = _MISSING
        return sums


class UploadReader:
    """Reads a complete upload and checks every shard that it touches; for one thread.

    It keeps the last shard, so that reading on from where the last read ended costs nothing twice.
    """

    def __init__(self, folder: Path, worker: WorkerId, layout: ShardLayout) -> None:
        self._worker = worker
        self._layout = layout
        self._last: tuple[int, bytes] = (-1, b"")
        path = folder / f"{worker}{DONE}"
        with storage_errors(f"cannot read {path}"):
            self._sums = _sums(folder, worker, layout)
            try:
                self._fd = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                raise DamagedDataError(f"the upload of {worker} is missing: {path}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from byte `offset` of the payload.

        Raises:
            DamagedDataError: a shard's bytes are not those that arrived; names worker and shard.
            BadUpdateError: these bytes are not all in shards.
        """
        parts: list[memoryview] = []
        while length:
            index = self._index(offset)
            start = offset - self._layout.shard(index)[0]
            part = memoryview(self._shard(index))[start : start + length]
            if not part:
                raise BadUpdateError(f"no payload at byte {offset}")
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return b"".join(parts)

    def _index(self, offset: int) -> int:
        shards = range(self._layout.num_shards)
        return bisect_right(shards, offset, key=lambda i: self._layout.shard(i)[0]) - 1

    def _shard(self, index: int) -> bytes:
        if self._last[0] != index:
            offset, length = self._layout.shard(index)
            with storage_errors(f"cannot read shard {index} of {self._worker}"):
                content = read_at(self._fd, offset, length)
                forget_cached(self._fd, offset, length)
            if xxh3_128_digest(content) != self._sums[index]:
                raise DamagedDataError(
                    f"shard {index} of {self._worker} is damaged: its bytes are not those that came"
                )
            self._last = (index, content)
        return self._last[1]


def _nothing() -> None:
    pass


def _sums_path(folder: Path, worker: WorkerId) -> Path:
    return folder / f"{worker}.sums"


def _sums(folder: Path, worker: WorkerId, layout: ShardLayout) -> list[bytes]:
    """Return the stored sum of each shard; zeros for what is not there."""
    path = _sums_path(folder, worker)
    content = path.read_bytes() if path.is_file() else b""
    content = content.ljust(layout.num_shards * _SUM_BYTES, b"\0")
    return [content[i * _SUM_BYTES : (i + 1) * _SUM_BYTES] for i in range(layout.num_shards)]
