from pathlib import Path

import pytest

from common import canonical
from common.ids import Digest
from services.replica import Position
from services.worker.state import StateFolder
from tests.small_run import Run
from worker.round import Stage

PLAN = Run().plan()


def saved_at(state: StateFolder, version: int) -> None:
    position = Position(7, Digest("0" * 64), version, PLAN.digest, 0.0, 0)
    state.commit_save(state.new_save(), position, None)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    """Saved at the plan's version, then staged for its round."""
    state = StateFolder(tmp_path)
    saved_at(state, PLAN.version)
    state.begin_stage()
    state.write_stage(canonical.encode(Stage(PLAN, exposed=True)))
    return state


def test_a_stage_on_the_saved_version_is_the_newer_one(state: StateFolder) -> None:
    manifest = state.load()
    assert manifest is not None
    assert state.load_stage(manifest) == Stage(PLAN, exposed=True)
    assert state.stage.exists()


def test_a_stage_whose_outcome_the_save_holds_is_dropped(state: StateFolder) -> None:
    # Killed after the manifest was replaced and before the stage was dropped.
    saved_at(state, PLAN.version + 1)
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
