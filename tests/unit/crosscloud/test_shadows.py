import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from crosscloud.shadows import OWN
from services.process.own_modules import own_command, own_path
from worker.training.learner import OWN_NAMES

ROOT = Path(__file__).parents[3]


def started(folder: Path, *path: Path, safe: str = "-P") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, safe, "-m", "crosscloud", "--version"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT)))},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", ["common/__init__.py", "worker.py", "services/__init__.py"])
def test_a_folder_on_the_path_that_hides_a_package_of_ours_is_named_with_the_fix(
    tmp_path: Path, name: str
) -> None:
    learners = tmp_path / "learners"
    (learners / name).parent.mkdir(parents=True)
    (learners / name).touch()
    done = started(tmp_path, learners)
    in_the_way = learners / name.removesuffix("/__init__.py")
    assert done.returncode == 2
    assert done.stderr.startswith(f"crosscloud: {in_the_way} stands in the way of crosscloud's own")
    assert "rename or move it, or take" in done.stderr
    assert f"{learners} off PYTHONPATH" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_the_folder_that_a_command_is_started_in_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "worker.py").touch()
    done = started(tmp_path, safe="-B")  # without -P: python -m looks here first
    assert done.returncode == 2
    assert "the folder that this is started in" in done.stderr
    assert "start `crosscloud` instead of `python -m crosscloud`" in done.stderr
    assert started(tmp_path).returncode == 0, "which the command does not look at"


def test_a_folder_that_is_no_package_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "worker").mkdir()
    assert started(tmp_path, tmp_path).returncode == 0


def test_a_process_of_ours_does_not_look_into_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "worker.py").touch()
    done = subprocess.run(
        own_command("crosscloud", "--version"),
        cwd=tmp_path,
        env={**os.environ, **own_path()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_package_of_the_wheel_is_looked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(OWN) == set(packages) - {"crosscloud"}
    assert set(OWN_NAMES) == set(packages)
