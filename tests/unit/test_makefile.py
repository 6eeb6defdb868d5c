"""What `make` and the scripts behind it say where something is missing, and what they leave."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig.programs import HIDE, PROGRAMS, needed

ROOT = Path(__file__).parents[2]
WITHOUT_ENSUREPIP = """#!/bin/sh
test "$1" = -c && exit 0
mkdir -p "$3/bin" && touch "$3/bin/python"
echo "ensurepip is not available"
exit 1
"""


def said(*command: str) -> str:
    """Return what a command says that fails where all programs are hidden."""
    environ = {**os.environ, HIDE: "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0, done.stdout
    return done.stdout + done.stderr


def make(*words: object) -> str:
    return said(needed("make"), *map(str, words))


@pytest.mark.program("make")
@pytest.mark.parametrize("target", ["up", "down", "logs"])
def test_a_target_for_containers_says_that_docker_is_missing_and_no_more(target: str) -> None:
    sentence, *rest = make(target, f"PYTHON={sys.executable}").splitlines()
    assert sentence.startswith("docker is hidden")
    assert sentence.endswith(PROGRAMS["docker"].source)
    assert [line[:5] for line in rest] == ["make:"]


@pytest.mark.program("make")
def test_an_environment_that_could_not_be_made_is_not_taken_for_one(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(WITHOUT_ENSUREPIP)
    python.chmod(0o755)
    for _ in range(2):
        assert "ensurepip is not available" in make(
            "demo", f"PYTHON={python}", f"VENV={tmp_path}/venv"
        )
        assert not (tmp_path / "venv").exists()


@pytest.mark.program("make")
def test_a_python_that_is_too_old_is_refused_with_what_to_do(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    words = make("test", f"PYTHON={python}", f"VENV={tmp_path}/venv")
    assert "run 'make PYTHON=python3.12 test'" in words


@pytest.mark.parametrize(
    ("module", "name"),
    [("benchmarks.pictures", "chromium"), ("benchmarks.link", "ip")],
)
def test_a_benchmark_that_needs_a_program_says_so_at_once(module: str, name: str) -> None:
    words = said(sys.executable, "-m", module)
    assert f"{name} is hidden" in words
    assert PROGRAMS[name].source in words
    assert "Traceback" not in words
