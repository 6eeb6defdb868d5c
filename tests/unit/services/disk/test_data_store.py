import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import DamagedDataError, MalformedDocumentError, StorageError, StorageFullError
from common.ids import Digest
from services.disk.data_store import DataStore

ABSENT = Digest("0" * 64)


@pytest.fixture
def store(tmp_path: Path) -> DataStore:
    return DataStore(tmp_path / "data")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system refuse files over `size` bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(store: DataStore) -> list[str]:
    return sorted(p.name for p in store.path(ABSENT).parent.iterdir())


def test_content_is_found_under_its_digest(store: DataStore) -> None:
    digest = store.write(b"file")

    assert digest == sha256(b"file").hexdigest()
    assert store.has(digest)
    assert store.size(digest) == 4
    assert store.read(digest, verify=True) == b"file"
    assert store.read_slice(digest, 1, 2) == b"il"
    assert store.path(digest).read_bytes() == b"file"
    store.sync()


def test_writing_twice_is_writing_once(store: DataStore) -> None:
    digest = store.write(b"file")
    before = store.path(digest).stat()

    assert store.write(bytearray(b"file")) == digest
    after = store.path(digest).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert names(store) == [digest]


@pytest.mark.parametrize("damage", [b"", b"fil", b"filE", b"file!"])
def test_a_damaged_file_is_named_and_healed_by_writing_again(
    store: DataStore, damage: bytes
) -> None:
    digest, other = store.write(b"file"), store.write(b"other")
    store.path(digest).write_bytes(damage)

    with pytest.raises(DamagedDataError, match=digest):
        store.read(digest, verify=True)
    assert store.damaged([other, digest, ABSENT, digest]) == [digest, ABSENT]

    assert store.write(b"file") == digest
    assert store.damaged([digest]) == []


def test_a_missing_file_is_named(store: DataStore) -> None:
    assert not store.has(ABSENT)
    for read in (store.size, store.read, lambda d: store.read_slice(d, 0, 1)):
        with pytest.raises(DamagedDataError, match="is missing"):
            read(ABSENT)


def test_a_slice_past_the_end_is_damage(store: DataStore) -> None:
    digest = store.write(b"file")
    with pytest.raises(DamagedDataError, match="ends at byte 4, before 5"):
        store.read_slice(digest, 2, 3)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "0" * 63, "0" * 64 + "\n", "A" * 64])
def test_a_name_that_is_no_digest_is_refused(store: DataStore, name: str) -> None:
    with pytest.raises(MalformedDocumentError):
        store.has(Digest(name))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50)))
def test_a_writer_gives_the_digest_of_all_its_parts(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    store = DataStore(tmp_path_factory.mktemp("data"))
    with store.writer() as writer:
        for part in parts:
            writer.append(memoryview(part))
        assert writer.length == sum(map(len, parts))
        digest = writer.commit()

    assert store.read(digest, verify=True) == b"".join(parts)
    assert names(store) == [digest]


def test_a_writer_that_does_not_commit_leaves_nothing(store: DataStore) -> None:
    with store.writer() as writer:
        writer.append(b"half of it")
        assert len(names(store)) == 1

    assert names(store) == []


def test_a_full_disk_is_named_and_leaves_the_old_version_readable(store: DataStore) -> None:
    old = store.write(b"old version")

    with largest_file(1000):
        with pytest.raises(StorageFullError, match="free some space"):
            store.write(bytes(2000))
        with store.writer() as writer:
            writer.append(bytes(600))
            with pytest.raises(StorageFullError):
                writer.append(bytes(600))

    assert names(store) == [old]
    assert store.read(old, verify=True) == b"old version"


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, StorageFullError),
        (errno.EDQUOT, StorageFullError),
        (errno.EIO, StorageError),
    ],
)
@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_what_the_disk_says_becomes_a_storage_error_and_no_file(
    store: DataStore,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    error: type[StorageError],
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StorageError) as caught:
            store.write(b"file")

    assert type(caught.value) is error
    assert names(store) == []
    assert store.has(store.write(b"file"))


def test_short_writes_are_continued(store: DataStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, view, at: real(fd, view[:3], at))

    assert store.read(store.write(b"file by file"), verify=True) == b"file by file"


def test_retain_deletes_the_rest_and_says_how_much(store: DataStore) -> None:
    kept, gone = store.write(b"kept"), store.write(b"no longer")
    with store.writer() as writer:
        writer.append(b"still being written")
        assert store.retain({kept, ABSENT}) == len(b"no longer")
        new = writer.commit()

    assert names(store) == sorted([kept, new])
    assert not store.has(gone)


def test_clean_removes_what_a_killed_process_left(store: DataStore) -> None:
    kept = store.write(b"kept")
    writer = store.writer()
    writer.append(b"the process dies here")

    store.clean()

    assert names(store) == [kept]
    writer.abort()
