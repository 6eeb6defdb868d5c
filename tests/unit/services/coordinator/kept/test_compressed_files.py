from pathlib import Path

import numpy as np
import pytest

from common.ids import Digest
from services.coordinator.kept.compressed_files import CompressedFiles
from services.disk.data_store import DataStore
from services.wire.compression import PART_BYTES, decompress


@pytest.fixture
def store(tmp_path: Path) -> DataStore:
    return DataStore(tmp_path)


def levels(num_bytes: int, sigma: float) -> bytes:
    draw = np.random.default_rng(1).standard_normal(num_bytes)
    return np.rint(sigma * draw).astype(np.int8).tobytes()


def compressed(store: DataStore, digest: Digest) -> Path:
    return store.path(digest).with_suffix(".zst")


def test_the_frames_of_a_compressed_file_hold_its_parts(store: DataStore) -> None:
    content = levels(2 * PART_BYTES + 77, 20)
    digest, files = store.write(content), CompressedFiles(store)
    files.compress(digest)

    found = files.open(digest, len(content))
    assert found is not None
    for offset in (0, PART_BYTES, 2 * PART_BYTES):
        part = content[offset : offset + PART_BYTES]
        frame = found.frame(offset)
        assert frame is not None
        assert decompress(frame, len(part)) == part
    assert found.frame(1) is None  # where no part begins, the file itself is sent
    assert compressed(store, digest).stat().st_size < 0.85 * len(content)


@pytest.mark.parametrize("content", [levels(2**15, 20), np.random.default_rng(2).bytes(2**18)])
def test_what_is_small_or_does_not_shrink_is_left_as_it_is(
    store: DataStore, content: bytes
) -> None:
    digest, files = store.write(content), CompressedFiles(store)
    files.compress(digest)
    assert files.open(digest, len(content)) is None
    assert [p.name for p in store.root.iterdir()] == [digest]


def test_what_does_not_shrink_at_first_is_given_up_early(store: DataStore) -> None:
    content = np.random.default_rng(3).bytes(16 * PART_BYTES) + bytes(8 * PART_BYTES)
    digest, files = store.write(content), CompressedFiles(store)
    files.compress(digest)
    assert files.open(digest, len(content)) is None


def test_a_compressed_copy_that_was_cut_or_is_gone_is_none(store: DataStore) -> None:
    content = levels(2**18, 20)
    digest, files = store.write(content), CompressedFiles(store)
    files.compress(digest)
    opened = files.open(digest, len(content))
    path = compressed(store, digest)
    path.write_bytes(path.read_bytes()[:-1])
    assert files.open(digest, len(content)) is None
    path.unlink()
    assert files.open(digest, len(content)) is None
    assert opened is not None
    assert opened.frame(0) is None


def test_a_full_disk_leaves_the_file_as_it_is(
    store: DataStore, caplog: pytest.LogCaptureFixture
) -> None:
    files = CompressedFiles(store)
    files.compress(Digest("ab" * 32))  # its file is gone: the same as any trouble with the disk
    assert "is sent as it is" in caplog.text


def test_a_compressed_copy_goes_with_its_file(store: DataStore) -> None:
    content, files = levels(2**18, 20), CompressedFiles(store)
    kept, gone = store.write(content), store.write(content[1:])
    files.compress(kept)
    files.compress(gone)
    num_bytes = compressed(store, gone).stat().st_size
    assert store.retain({kept}) == len(content) - 1 + num_bytes
    assert {p.name for p in store.root.iterdir()} == {kept, f"{kept}.zst"}
