"""What a process is started in: without standard streams, among variables that are for others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.process.exit_status import Exit
from tests.integration.conftest import ROOT

RUN = "name: a\nlearner: examples.own_learner:build\nsettings: {width: 8}\nstop: {versions: 1}\n"
PATIENCE_S = 100.0


def ended(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_a_command_whose_standard_streams_are_closed_does_its_work(
    tmp_path: Path, closed: str
) -> None:
    (tmp_path / "run.yaml").write_text(RUN)
    words = (sys.executable, "-m", "crosscloud", "genesis")
    files = ("--config", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "genesis"))
    command = (*words, *files)
    found = ended("sh", "-c", f'exec "$@" {closed}', "sh", *command)
    assert found.returncode == Exit.OVER, found
    assert (tmp_path / "genesis" / "genesis.json").is_file()


def test_nothing_that_is_opened_later_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    program = (
        "import os; from services.process.standard_streams import open_missing; open_missing();"
        f"made = os.open({str(tmp_path / 'log')!r}, os.O_CREAT | os.O_WRONLY);"
        "os.write(2, b'a library says'); print('so do we'); raise SystemExit(made)"
    )
    found = ended("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program)
    assert found.returncode > 2
    assert (tmp_path / "log").read_bytes() == b""


@pytest.mark.parametrize("name", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
def test_metrics_are_a_process_s_own_whatever_other_programs_share(
    tmp_path: Path, name: str
) -> None:
    program = (
        "import sys; from commands.app import run; sys.argv[1:] = ['--version']\n"
        "try: run()\nexcept SystemExit: pass\n"
        "from services.observe.prometheus import Registry\n"
        "Registry().gauge('a', 'a').set(1); Registry().counter('b', 'b').inc()"
    )
    found = ended(sys.executable, "-c", program, **{name: str(tmp_path / "absent")})
    assert found.returncode == 0, found.stderr


def test_python_without_docstrings_is_refused_with_the_variable() -> None:
    found = ended(sys.executable, "-m", "crosscloud", "--version", PYTHONOPTIMIZE="2")
    assert found.returncode == Exit.SETTINGS
    assert found.stderr.startswith("crosscloud: PYTHONOPTIMIZE=2 (python -OO)")
    assert ended(sys.executable, "-m", "crosscloud", "--version", PYTHONOPTIMIZE="1").stdout


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["plan", "--help"]])
def test_what_cannot_be_printed_is_one_sentence(words: list[str]) -> None:
    command = (sys.executable, "-m", "crosscloud", *words)
    found = ended("sh", "-c", 'exec "$@" >/dev/full', "sh", *command)
    assert found.returncode == Exit.FAILED
    assert found.stderr.startswith("crosscloud: standard output cannot be written: No space left")
    assert found.stderr.count("\n") == 1, found.stderr


@pytest.mark.parametrize("words", [["status", "--config", "absent.yaml"], ["status"], ["absent"]])
def test_a_full_standard_error_changes_no_status(words: list[str]) -> None:
    command = (sys.executable, "-m", "crosscloud", *words)
    found = ended("sh", "-c", 'exec "$@" 2>/dev/full', "sh", *command)
    assert found.returncode == Exit.SETTINGS
