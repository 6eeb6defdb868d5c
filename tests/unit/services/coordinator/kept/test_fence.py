import os
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import StaleLeaderError, StorageError
from services.coordinator.kept.fence import Fence
from services.disk.data_store import DataStore


@pytest.fixture
def store(tmp_path: Path) -> DataStore:
    return DataStore(tmp_path / "data")


def leader(store: DataStore, epoch: int) -> Fence:
    fence = Fence(store.root, epoch)
    fence.take_over()
    return fence


def before(monkeypatch: pytest.MonkeyPatch, call: str, nth: int, do: Callable[[], object]) -> None:
    """Do something right before the n-th such call of the system: another leader's turn."""
    real = getattr(os, call)
    calls = []

    def turn(*args, **more):
        calls.append(args)
        if len(calls) == nth:
            do()
        return real(*args, **more)

    monkeypatch.setattr(os, call, turn)


def test_a_leader_deletes_and_its_trash_stays_empty(store: DataStore) -> None:
    gone, kept = store.write(b"gone"), store.write(b"kept")
    fence = leader(store, 3)

    assert store.retain({kept}, fence.delete) == len(b"gone")
    assert not store.has(gone)
    assert store.has(kept)
    assert os.listdir(store.root / "trash-000000000003") == []


def test_a_deposed_leader_deletes_nothing_more_and_hears_why(store: DataStore) -> None:
    digest = store.write(b"a newer leader's")
    former = leader(store, 3)
    leader(store, 8)

    with pytest.raises(StaleLeaderError, match="trash-000000000003 was taken away: another"):
        former.delete(store.path(digest))
    assert store.read(digest, verify=True) == b"a newer leader's"


STEPS = [("mkdir", 1), ("fsync", 1), ("rename", 1), ("link", 1), ("unlink", 1), ("rmdir", 1)]


@pytest.mark.parametrize(("call", "nth"), [*STEPS, ("fsync", 2), ("fsync", 3)])
def test_of_two_that_take_over_at_once_only_the_newer_one_leads(
    store: DataStore, monkeypatch: pytest.MonkeyPatch, call: str, nth: int
) -> None:
    digest = store.write(b"content")
    leader(store, 3)
    store.path(digest).rename(store.root / "trash-000000000003" / digest)
    older, newer = Fence(store.root, 8), Fence(store.root, 9)

    def older_leads() -> None:
        older.take_over()
        older.delete(store.path(digest))

    with monkeypatch.context() as patch:
        before(patch, call, nth, newer.take_over)
        with pytest.raises(StaleLeaderError, match="another coordinator leads"):
            older_leads()
    assert newer.delete(store.path(digest)) == len(b"content")


def test_what_a_deposed_leader_was_about_to_delete_comes_back(store: DataStore) -> None:
    digest = store.write(b"wanted again")
    leader(store, 3)
    store.path(digest).rename(store.root / "trash-000000000003" / digest)  # and there it is paused

    assert Fence(store.root, 8).take_over() == 1
    assert store.read(digest, verify=True) == b"wanted again"
    assert [p.name for p in store.root.iterdir() if p.is_dir()] == ["trash-000000000008"]


def test_a_file_that_was_written_again_meanwhile_stays(store: DataStore) -> None:
    digest = store.write(b"content")
    leader(store, 3)
    store.path(digest).rename(store.root / "trash-000000000003" / digest)
    store.write(b"content")

    assert Fence(store.root, 8).take_over() == 1
    assert store.read(digest, verify=True) == b"content"


def test_a_rename_that_had_found_the_trash_before_it_was_taken_away_is_undone(
    store: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store.write(b"late")
    leader(store, 3)
    away = store.root / "trash-000000000008-0"
    before(monkeypatch, "rmdir", 1, lambda: store.path(digest).rename(away / digest))

    assert Fence(store.root, 8).take_over() == 1
    assert store.read(digest, verify=True) == b"late"
    assert not away.exists()


def test_a_take_over_that_was_killed_half_way_is_finished_by_the_next(
    store: DataStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store.write(b"content")
    leader(store, 3)
    store.path(digest).rename(store.root / "trash-000000000003" / digest)

    def dies() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        before(patch, "link", 1, dies)
        with pytest.raises(KeyboardInterrupt):
            Fence(store.root, 8).take_over()
    assert not store.has(digest)

    assert Fence(store.root, 9).take_over() == 1
    assert store.has(digest)
    assert [p.name for p in store.root.iterdir() if p.is_dir()] == ["trash-000000000009"]


@pytest.mark.parametrize("epoch", [5, 8])
def test_a_log_that_was_restored_from_a_copy_is_refused_with_what_to_do(
    store: DataStore, epoch: int
) -> None:
    digest = store.write(b"wanted by the older log")
    leader(store, 8)
    trash = store.root / "trash-000000000008"
    store.path(digest).rename(trash / digest)

    with pytest.raises(StaleLeaderError) as caught:
        Fence(store.root, epoch).take_over()
    said = str(caught.value)
    assert f"trash-000000000008 in {store.root}: another coordinator leads this run" in said
    assert "the log was restored from an older copy" in said
    assert "move what is in the folders named here up into it, and remove them" in said

    for path in trash.iterdir():
        path.rename(store.root / path.name)
    for path in store.root.glob("trash-*"):
        path.rmdir()  # that of record 5 too: it was made before the newer one was seen
    assert Fence(store.root, epoch).take_over() == 0
    assert store.read(digest, verify=True) == b"wanted by the older log"


def test_a_disk_that_fails_is_not_taken_for_a_newer_leader(store: DataStore) -> None:
    digest = store.write(b"content")
    fence = leader(store, 3)
    trash = store.root / "trash-000000000003"
    trash.rmdir()
    trash.write_bytes(b"not a folder")

    with pytest.raises(StorageError, match="cannot delete") as e:
        fence.delete(store.path(digest))
    assert not isinstance(e.value, StaleLeaderError)
    assert store.has(digest)
