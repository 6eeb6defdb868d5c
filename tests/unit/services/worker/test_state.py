import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from common import canonical
from common.documents import Counters
from common.errors import ConfigError, StorageError
from common.ids import Digest
from common.log_head import LogHead
from services.worker.state import SAVED, Manifest, StateFolder
from simulator.disk import Disk, watched
from simulator.host import HOST, Host
from simulator.turn_thread import Killed
from tests.rig.rounds.small_run import Run
from worker.rounds.position import Position
from worker.rounds.round import Stage

PLAN = Run().plan()
SEQ = 7
STAGE = Stage(PLAN, SEQ, exposed=True)


def saved_at(state: StateFolder, next_seq: int) -> None:
    head = LogHead(next_seq, Digest("0" * 64), PLAN.version, PLAN.digest, 0.0, Counters())
    position = Position(head, PLAN.version, PLAN.digest)
    folder = state.new_save()
    for name in SAVED:
        (folder / name).write_bytes(b"saved")
    state.commit_save(Manifest(folder.name, position), None)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    """Saved, then staged when two more records were seen."""
    state = StateFolder(tmp_path)
    saved_at(state, SEQ - 2)
    state.begin_stage()
    state.write_stage(STAGE)
    return state


def restarted(root: Path) -> StateFolder:
    state = StateFolder(root)
    assert state.load() is not None
    return state


def test_a_stage_made_after_the_save_is_the_newer_one(state: StateFolder, tmp_path: Path) -> None:
    again = restarted(tmp_path)
    assert again.stage == state.stage
    assert again.load_stage() == STAGE
    assert again.stage.folder.exists()


def test_a_save_ends_the_stage_before_it(state: StateFolder, tmp_path: Path) -> None:
    former = state.stage.folder
    saved_at(state, SEQ + 1)
    assert not former.exists()
    again = restarted(tmp_path)
    assert again.stage.folder != former
    assert again.load_stage() is None


def test_a_stage_that_a_kill_left_in_a_former_save_is_dropped(
    state: StateFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Killed after the manifest was replaced and before the former save was removed.
    former = state.stage.folder
    with monkeypatch.context() as patch:
        patch.setattr(StateFolder, "_remove_saves", lambda self, but: None)
        saved_at(state, SEQ + 1)
    assert former.exists()
    assert restarted(tmp_path).load_stage() is None
    assert not former.exists()


def test_a_half_written_stage_is_dropped(state: StateFolder) -> None:
    state.begin_stage()
    assert state.load_stage() is None
    assert not state.stage.folder.exists()


def test_what_is_forgotten_does_not_come_back(state: StateFolder, tmp_path: Path) -> None:
    state.forget()
    assert StateFolder(tmp_path).load() is None
    assert not list(tmp_path.iterdir())


def test_drafts_of_a_kill_are_removed(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    saved_at(state, SEQ)
    (tmp_path / ".manifest.00ff.tmp").write_bytes(b"{")
    restarted(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "save-1"]


@pytest.mark.parametrize("act", range(1, 11))
@pytest.mark.parametrize("luck", range(8))
def test_a_stage_that_a_power_cut_left_has_all_its_files(
    tmp_path: Path, act: int, luck: int
) -> None:
    state = StateFolder(tmp_path / "disk")
    saved_at(state, SEQ)
    disk = Disk(tmp_path / "disk")
    host = Host("w", died=lambda _: None, tell=print, dies_at=act)
    token = HOST.set(host)
    try:
        with watched(disk):
            folder = state.begin_stage()
            (folder / "trainer.json").write_bytes(b"{}")
            state.write_stage(STAGE)
    except Killed:
        pass
    finally:
        HOST.reset(token)
    disk.cut_power(random.Random(luck), keep=True)

    again = restarted(tmp_path / "disk")
    assert again.load_stage() is None or (again.stage.folder / "trainer.json").read_bytes() == b"{}"


@pytest.mark.parametrize("lost", ["", *SAVED])
def test_a_save_that_is_not_whole_is_refused_with_the_folder_to_move_away(
    tmp_path: Path, lost: str
) -> None:
    root = tmp_path / "state"
    saved_at(StateFolder(root), SEQ)
    if lost:
        (root / "save-1" / lost).unlink()
    else:
        shutil.rmtree(root / "save-1")
    for _ in range(2):  # and a second start finds the same
        with pytest.raises(ConfigError, match=f"^state_dir: .*; move {root} away, to start from"):
            StateFolder(root).load()
    root.rename(tmp_path / "away")
    assert StateFolder(root).load() is None


def test_a_damaged_manifest_is_refused_with_the_folder_to_move_away(tmp_path: Path) -> None:
    saved_at(StateFolder(tmp_path), SEQ)
    (tmp_path / "manifest.json").write_bytes(b"{")
    with pytest.raises(ConfigError, match=f"^state_dir: .*; move {tmp_path} away"):
        StateFolder(tmp_path).load()


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 10**5, b'{"plan":{}}', None])
def test_a_damaged_stage_is_refused_with_the_folder_to_move_away(
    state: StateFolder, tmp_path: Path, content: bytes | None
) -> None:
    path = state.stage.document
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    again = restarted(tmp_path)
    with pytest.raises(ConfigError, match=f"^state_dir: {path} .*; .*move {tmp_path} away"):
        again.load_stage()
    assert path.exists(), "what it exposed is not known: it stays"


def test_a_directory_for_a_manifest_is_refused_with_the_folder_to_move_away(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(ConfigError, match=f"^state_dir: .*; mend that, or move {tmp_path} away"):
        StateFolder(tmp_path).load()


@pytest.mark.parametrize("folder", ["x" * 300, "../elsewhere", "save-1/..", "save-", "", "a\0b"])
def test_a_manifest_names_a_save_of_its_own_folder_and_nothing_else(
    state: StateFolder, tmp_path: Path, folder: str
) -> None:
    manifest = restarted(tmp_path).load()
    assert manifest is not None
    named = canonical.encode(replace(manifest, folder=folder))
    (tmp_path / "manifest.json").write_bytes(named)
    with pytest.raises(ConfigError, match=r"^state_dir: .* is damaged: it names no save; move"):
        StateFolder(tmp_path).load()


def test_nothing_is_frozen_where_a_restart_would_not_find_it(tmp_path: Path) -> None:
    fresh = StateFolder(tmp_path / "fresh")
    with pytest.raises(StorageError, match="before the first save"):
        fresh.begin_stage()
    with pytest.raises(StorageError, match="before the first save"):
        fresh.write_stage(STAGE)
    assert not list((tmp_path / "fresh").iterdir())
