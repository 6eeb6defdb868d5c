"""Files named by the SHA-256 of their content: segments of versions, aggregates, manifests.

Such a file never changes, so writing it twice is writing it once, and whoever holds a digest can
tell a damaged file from a sound one. Several processes may share the folder. A file is durable once
`write` or `commit` returned and `sync` was called after it.

To check a file again costs less than its SHA-256: the xxh3-128 of what was written or checked here
is remembered, and finds what a disk does to it.

One fsync per file is as fast as all of them at the end; several threads that write at once are not
held up by each other's (measured on ext4: 0.9 GiB/s with one thread, 1.3 with four, 4 MiB files).
"""

import hashlib
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Final, Self

from xxhash import xxh3_128_digest

from common.canonical import digest_of
from common.errors import DamagedDataError, MalformedDocumentError
from common.ids import Digest, is_digest
from services.disk.files import Bytes, Draft, make_folder, read_at, storage_errors, sync_folder

COMPRESSED_SUFFIX: Final = ".zst"
"""Of a compressed copy beside a file (`services/coordinator/kept/compressed_files.py`)."""


class DataStore:
    """A folder of such files; see the module docstring."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._sums: dict[Digest, bytes] = {}  # xxh3-128 of sound content, 16 bytes per file
        self._folder = str(root)
        make_folder(root)

    @property
    def root(self) -> Path:
        """The folder."""
        return self._root

    def path(self, digest: Digest) -> Path:
        """Return where the file stands or would stand.

        Raises:
            MalformedDocumentError: not 64 hexadecimal digits; digests come off the wire.
        """
        if not is_digest(digest):
            raise MalformedDocumentError(f"not a SHA-256 in hexadecimal digits: {digest[:80]!r}")
        return self._root / digest

    def _name(self, digest: Digest) -> str:
        """Return the path as a string: half a run's files are looked for at every step."""
        if not is_digest(digest):
            self.path(digest)
        return f"{self._folder}/{digest}"

    def has(self, digest: Digest) -> bool:
        """Return whether the file is there; its content may be damaged."""
        return os.path.isfile(self._name(digest))

    def size(self, digest: Digest) -> int:
        """Return the file's size in bytes.

        Raises:
            DamagedDataError: it is missing.
        """
        try:
            return os.stat(self._name(digest)).st_size
        except FileNotFoundError:
            raise self._missing(digest) from None

    def read(self, digest: Digest, *, verify: bool = False) -> bytes:
        """Return the whole file, for files of a few MiB.

        Raises:
            DamagedDataError: it is missing, or `verify` is set and its content is not the digest's.
        """
        content = self.read_slice(digest, 0, self.size(digest))
        if verify:
            self._check(digest, content)
        return content

    def _check(self, digest: Digest, content: bytes) -> None:
        found_sum = xxh3_128_digest(content)
        if self._sums.get(digest) == found_sum:
            return
        if digest_of(content) != digest:
            raise DamagedDataError(f"{self.path(digest)} is damaged: its SHA-256 is not its name")
        self._sums[digest] = found_sum

    def read_slice(self, digest: Digest, offset: int, length: int) -> bytes:
        """Return `length` bytes from byte `offset`.

        Raises:
            DamagedDataError: the file is missing or ends before.
        """
        path = self._name(digest)
        with storage_errors(f"cannot read {path}"):
            try:
                fd = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                raise self._missing(digest) from None
            try:
                content = read_at(fd, offset, length)
            finally:
                os.close(fd)
        if len(content) != length:
            raise DamagedDataError(
                f"{path} is damaged: it ends at byte {offset + len(content)},"
                f" before {offset + length}"
            )
        return content

    def write(self, content: Bytes) -> Digest:
        """Store `content`; a damaged file of that name is replaced.

        Raises:
            StorageFullError: no space is left; nothing changed.
        """
        digest = digest_of(content)
        if not self._holds(digest, content):
            with Draft(self._root, digest) as draft:
                draft.append(content)
                draft.rename(self.path(digest))
        self._sums[digest] = xxh3_128_digest(content)
        return digest

    def writer(self) -> "Writer":
        """Return a writer for a file that is too large for memory."""
        return Writer(self, Draft(self._root, "writer"))

    def damaged(self, digests: Iterable[Digest]) -> list[Digest]:
        """Return those whose file is missing or has other content, each once, in order."""
        return [d for d in dict.fromkeys(digests) if not self._is_sound(d)]

    def sync(self) -> None:
        """Make the names durable of all files that were written so far."""
        sync_folder(self._root)

    def retain(self, keep: Collection[Digest], delete: Callable[[Path], int] | None = None) -> int:
        """Delete every other file and its compressed copy; return the bytes freed.

        Only while no version is being computed or fetched: a file that was just written, and is not
        in `keep`, would be lost.

        Args:
            delete: deletes a file and returns its size, where several processes delete.
        """
        with storage_errors(f"cannot read {self._root}"):
            names = os.listdir(self._root)
        digests = {name: Digest(name.removesuffix(COMPRESSED_SUFFIX)) for name in names}
        gone = {n: d for n, d in digests.items() if is_digest(d) and d not in keep}
        for digest in gone.values():
            self._sums.pop(digest, None)
        return sum((delete or _delete)(self._root / name) for name in gone)

    def drafts(self) -> list[Path]:
        """Return what is half written, or was when its process was killed."""
        return [*self._root.glob(f".*{Draft.SUFFIX}")]

    def clean(self) -> None:
        """Remove what a killed process left half written: at start, before anything writes."""
        for path in self.drafts():
            path.unlink()

    def _holds(self, digest: Digest, content: Bytes) -> bool:
        path = self.path(digest)
        if not path.is_file() or path.stat().st_size != memoryview(content).nbytes:
            return False
        return self.read(digest) == content  # far cheaper than to write it

    def _is_sound(self, digest: Digest) -> bool:
        path = self.path(digest)
        if not path.is_file():
            return False
        with storage_errors(f"cannot read {path}"), path.open("rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest

    def _missing(self, digest: Digest) -> DamagedDataError:
        return DamagedDataError(f"{self.path(digest)} is missing")


def _delete(path: Path) -> int:
    num_bytes = path.stat().st_size
    path.unlink()
    return num_bytes


class Writer:
    """One file, appended to and hashed as it grows; leaving without `commit` drops it."""

    def __init__(self, store: DataStore, draft: Draft) -> None:
        self._store = store
        self._draft = draft
        self._hash = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    @property
    def length(self) -> int:
        """Bytes appended so far: where a broken download goes on."""
        return self._draft.length

    def append(self, content: Bytes) -> None:
        """Add `content` at the end.

        Raises:
            StorageFullError: no space is left; abort.
        """
        self._draft.append(content)
        self._hash.update(content)

    def commit(self) -> Digest:
        """Give the file its name and return it; durable after `DataStore.sync`."""
        digest = Digest(self._hash.hexdigest())
        self._draft.rename(self._store.path(digest))
        return digest

    def abort(self) -> None:
        """Remove what was written; after `commit` nothing happens."""
        self._draft.discard()
