from pathlib import Path

from common.ids import Digest
from services.replica import Position
from services.worker.state import StateFolder

AT = Position(0, Digest("0" * 64), 0, Digest("0" * 64), 0.0, 0)


def saved(state: StateFolder) -> None:
    state.commit_save(state.new_save(), AT, None)


def test_a_save_ends_the_stage_before_it(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    saved(state)
    former = state.begin_stage()
    saved(state)
    assert not former.exists()
    again = StateFolder(tmp_path)
    again.load()
    assert again.stage != former


def test_drafts_of_a_kill_are_removed(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    saved(state)
    (tmp_path / ".manifest.00ff.tmp").write_bytes(b"{")
    StateFolder(tmp_path).load()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "save-1"]
