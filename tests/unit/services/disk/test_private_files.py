"""Who may read what a process keeps."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commands.demo import demo
from commands.demo.layout import Layout
from common.errors import ConfigError
from services.coordinator import main as coordinator
from services.disk.files import make_private_folder
from services.evaluator import main as evaluator
from services.worker import main as worker
from services.worker.state import StateFolder
from tests.unit.commands.demo.test_layout import spec


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """Files are readable by everybody, as they are on most machines."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_private_folder_is_made_for_its_user_alone(tmp_path: Path) -> None:
    make_private_folder(tmp_path / "a" / "b")
    assert mode(tmp_path / "a" / "b") == 0o700


def test_a_folder_that_is_there_is_closed_to_others_and_stays_as_it_is_otherwise(
    tmp_path: Path,
) -> None:
    """Its operator may have let a group in, for backups."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept").chmod(0o755)
    make_private_folder(tmp_path / "kept")
    assert mode(tmp_path / "kept") == 0o750


def test_nobody_else_can_enter_what_a_worker_keeps(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    assert mode(tmp_path / "state") == mode(state.new_save()) == 0o700


def test_nobody_else_can_enter_a_federation_on_this_machine(tmp_path: Path) -> None:
    """It has the keys of every process, and every worker's text and parameters."""
    layout = Layout(spec(tmp_path / "tiny"))
    layout.write()
    assert mode(layout.folder) == 0o700


@pytest.mark.parametrize(
    "start",
    [
        lambda folder: coordinator.main(folder / "missing.yaml"),
        lambda folder: evaluator.main(folder / "missing.yaml"),
        lambda folder: worker.main(folder / "missing.yaml"),
        lambda folder: demo.main(runs=folder, name="no name", seconds=10.0),
    ],
    ids=["coordinator", "evaluator", "worker", "demo"],
)
def test_a_process_makes_no_file_that_others_can_read(
    start: Callable[[Path], int], tmp_path: Path
) -> None:
    """Whatever makes it: a learner of one's own saves its files itself."""
    with pytest.raises(ConfigError):
        start(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "learner.npz").write_bytes(b"weights")
    assert mode(tmp_path / "own") == 0o700
    assert mode(tmp_path / "own" / "learner.npz") == 0o600
