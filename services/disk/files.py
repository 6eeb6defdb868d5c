"""Durable files: the steps between `write` and "it survives a power cut", in one place.

A file is written under a temporary name, fsynced, and only then given its own name, by rename
(replaces) or by link (exclusive). So a name never stands for half a file. The name itself is
durable after `sync_folder`. Large files are never mapped into memory: mapped pages
count as memory used.
"""

import contextlib
import errno
import logging
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, ParamSpec, Self, TypeVar

from common.errors import OutOfDescriptorsError, StorageError, StorageFullError

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

Bytes = bytes | bytearray | memoryview

_PRIVATE: Final = stat.S_IRWXU

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_TOO_MANY: Final = frozenset({errno.EMFILE, errno.ENFILE})
_AGAIN_S: Final = 0.2


@contextlib.contextmanager
def storage_errors(action: str) -> Iterator[None]:
    """Turn an OSError into a StorageError whose message begins with `action`.

    Raises:
        OutOfDescriptorsError: no descriptor is to be had now: the disk is well.
        StorageFullError: no space, a quota or a file size limit.
        StorageError: anything else that the disk says.
    """
    try:
        yield
    except OSError as e:
        refuse_too_many(e, action)
        if is_full(e):
            raise StorageFullError(
                f"{action}: {e.strerror}; free some space or raise the limit:"
                " what was stored before is unharmed"
            ) from e
        raise StorageError(f"{action}: {e}") from e


def is_full(e: OSError) -> bool:
    """Return whether the system says that no space is left."""
    return e.errno in _FULL


def refuse_too_many(e: OSError, action: str) -> None:
    """Let an OSError pass that has another cause than too many open files.

    Raises:
        OutOfDescriptorsError: it has not.
    """
    if e.errno in _TOO_MANY:
        raise OutOfDescriptorsError(
            f"{action}: {e.strerror}: what is open, connections too, has to end first; "
            "raise the limit (LimitNOFILE, ulimit -n) if this lasts"
        ) from e


def patiently(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `work` returns: again and again while there is no descriptor for it. It blocks.

    For what a process cannot do without, and may do twice: a stranger's connections hold it up for
    as long as they last, and end nothing.
    """
    told = False
    while True:
        try:
            return work(*args, **kwargs)
        except OutOfDescriptorsError as e:
            if not told:
                log.warning("waiting: %s", e)
            told = True
            time.sleep(_AGAIN_S)


def write_at(fd: int, content: Bytes, offset: int) -> None:
    """Write all of `content` at byte `offset`."""
    rest = memoryview(content).cast("B")
    while rest:
        written = os.pwrite(fd, rest, offset)
        rest, offset = rest[written:], offset + written


def read_at(fd: int, offset: int, length: int) -> bytes:
    """Return `length` bytes from byte `offset`; fewer only where the file ends."""
    content = os.pread(fd, length, offset)
    while 0 < len(content) < length:  # one call reads at most 2 GiB
        more = os.pread(fd, length - len(content), offset + len(content))
        if not more:
            break
        content += more
    return content


def sync_file(path: Path) -> None:
    """Make the file's content durable, whoever wrote it."""
    _sync(path, os.O_RDONLY)


def make_folder(folder: Path) -> None:
    """Create a folder, unless it is there, and make its own name durable.

    Raises:
        StorageError: it cannot be made.
    """
    with storage_errors(f"cannot use {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    sync_folder(folder.parent)


def make_private_folder(folder: Path) -> None:
    """Make a folder as `make_folder` does, for this user alone.

    One that is there is closed to all who are neither its owner nor of its group.

    Raises:
        StorageError: it cannot be made.
    """
    with storage_errors(f"cannot use {folder}"):
        folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    mode = folder.stat().st_mode
    if mode & stat.S_IRWXO:
        with contextlib.suppress(OSError):  # of a volume that belongs to another
            folder.chmod(stat.S_IMODE(mode) & ~stat.S_IRWXO)
    sync_folder(folder.parent)


def keep_files_private() -> None:
    """Let all files and folders that this process makes from now on be its user's alone.

    Once at the start of each process that keeps something: what training saves, own learners' files
    too, is one cloud's work in the clear.
    """
    os.umask(0o777 & ~_PRIVATE)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    with storage_errors(f"cannot make {path} durable"):
        fd = os.open(path, flags)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def forget_cached(fd: int, offset: int, length: int) -> None:
    """Tell the kernel that these bytes will not be read again."""
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(fd, offset, length, os.POSIX_FADV_DONTNEED)


def begin_write_back(fd: int, offset: int, length: int) -> None:
    """Let the kernel begin to write these bytes to the disk, so that an fsync later waits less.

    On Linux the advice does just that to pages that are not on the disk yet, and waits for nothing.
    """
    forget_cached(fd, offset, length)


class Draft:
    """A file that nobody sees until it is complete; leaving the context before that removes it.

    Args:
        folder: where the file will stand.
        stem: what the temporary name begins with, for a person who finds one.
        mode: of the file, less the process's umask.
    """

    SUFFIX: Final = ".tmp"
    _WRITE_BACK_BYTES: Final = 8 * 2**20

    def __init__(self, folder: Path, stem: str, mode: int = 0o600) -> None:
        self.path = folder / f".{stem}.{secrets.token_hex(8)}{self.SUFFIX}"
        self.length = 0
        self._written_back = 0
        self._folder = str(folder)
        self._has_name = True
        with storage_errors(f"cannot write in {folder}"):
            self._fd = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def append(self, content: Bytes) -> None:
        """Add `content` at the end.

        Raises:
            StorageFullError: no space is left; discard the draft.
        """
        with storage_errors(f"cannot write in {self._folder}"):
            write_at(self._fd, content, self.length)
        self.length += memoryview(content).nbytes
        if self.length - self._written_back >= self._WRITE_BACK_BYTES:
            begin_write_back(self._fd, self._written_back, self.length - self._written_back)
            self._written_back = self.length

    def sync(self) -> None:
        """Make the content durable. Nothing may be appended after it."""
        with storage_errors(f"cannot write in {self._folder}"):
            os.fsync(self._fd)  # an error here may not be retried: the kernel forgets it
        self._close()

    def rename(self, path: Path) -> None:
        """Sync, then give the file its name; a file of that name is replaced."""
        self.sync()
        with storage_errors(f"cannot write {path}"):
            os.replace(self.path, path)
        self._has_name = False

    def discard(self) -> None:
        """Remove the temporary name; after a rename there is none."""
        self._close()
        if self._has_name:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a small file in one step, so that nobody reads half of it."""
    with Draft(path.parent, path.stem, mode) as draft:
        draft.append(content)
        draft.rename(path)
