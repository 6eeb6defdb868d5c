from pathlib import Path

import pytest

from common import canonical
from common.ids import Digest
from services.replica import Position
from services.worker.state import StateFolder
from tests.small_run import Run
from worker.round import Stage

PLAN = Run().plan()
SEQ = 7


def saved_at(state: StateFolder, next_seq: int) -> None:
    position = Position(next_seq, Digest("0" * 64), PLAN.version, PLAN.digest, 0.0, 0)
    state.commit_save(state.new_save(), position, None)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    """Saved, then staged when two more records were seen."""
    state = StateFolder(tmp_path)
    saved_at(state, SEQ - 2)
    state.begin_stage()
    state.write_stage(canonical.encode(Stage(PLAN, SEQ, exposed=True)))
    return state


def test_a_stage_made_after_the_save_is_the_newer_one(state: StateFolder) -> None:
    manifest = state.load()
    assert manifest is not None
    assert state.load_stage(manifest) == Stage(PLAN, SEQ, exposed=True)
    assert state.stage.exists()


def test_a_stage_whose_outcome_the_save_holds_is_dropped(state: StateFolder) -> None:
    # Killed after the manifest was replaced and before the stage was dropped.
    saved_at(state, SEQ + 1)
    manifest = state.load()
    assert manifest is not None
    assert state.load_stage(manifest) is None
    assert not state.stage.exists()


def test_a_half_written_stage_is_dropped(state: StateFolder) -> None:
    state.begin_stage()
    manifest = state.load()
    assert manifest is not None
    assert state.load_stage(manifest) is None
    assert not state.stage.exists()
