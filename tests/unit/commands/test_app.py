import importlib.metadata
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from typer.testing import CliRunner

from commands.app import app, run
from common.documents import PROTOCOL
from common.errors import ConfigError
from services import __version__
from services.trust.identity import MemberList

INIT = ("certs", "init", "--run", "demo", "--host", "localhost", "--worker", "aws@amazon")
HEAVY = ("torch", "transformers", "redis", "grpc", "numpy")


def test_the_command_line_loads_nothing_heavy_and_neither_does_the_package() -> None:
    program = (
        "import sys, crosscloud, crosscloud.__main__\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"


def test_every_command_explains_itself() -> None:
    commands = [c.name or getattr(c.callback, "__name__", "") for c in app.registered_commands]
    assert {"demo", "coordinator", "worker", "evaluator", "genesis", "status"} <= set(commands)
    for command in commands:
        done = CliRunner().invoke(app, [command, "--help"])
        assert done.exit_code == 0, command
        assert "Usage: " in done.output


def test_the_version_is_what_has_to_be_the_same_everywhere() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0, done.output
    assert done.output == (
        f"crosscloud {__version__}, protocol {PROTOCOL}, numpy {numpy.__version__}, "
        f"Python {sys.version.split()[0]}\n"
    )
    assert __version__ == importlib.metadata.version("crosscloud")
    everything = CliRunner().invoke(app, ["--help"]).output
    assert "--version" in everything
    assert "clouds that never share" in everything


def test_each_problem_of_a_settings_file_is_a_line_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("stop: {versions: 1}\nsed: 2\nalgorithm: {codec.bits: 4}\n")
    asked = ["crosscloud", "genesis", "--config", str(config), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", asked)
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[2] for line in said] == ["algorithm.codec.bits", "sed", "name"]
    assert all(line.startswith(f"crosscloud: {config}") for line in said)


def test_certs_init_makes_a_federation_and_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*INIT, "--worker", "gcp", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert f"wrote {tmp_path / 'aws.pem'}" in done.output
    assert "keep it off the coordinator" in done.output
    members = MemberList(tmp_path / "members.yaml", "demo").members
    assert {n: i.organisation for n, i in members.items()} == {
        "aws": "amazon",
        "gcp": "gcp",
        "coordinator": "coordinator",
        "evaluator": "evaluator",
        "operator": "operator",
    }
    again = CliRunner().invoke(app, [*INIT, "--worker", "gcp", str(tmp_path)])
    assert again.exit_code == 0
    assert "nothing to do" in again.output


def test_certs_init_refuses_organisations_that_could_never_make_a_cohort(tmp_path: Path) -> None:
    two = (*INIT, "--worker", "gcp@amazon", "--worker", "azure@microsoft", str(tmp_path / "certs"))
    done = CliRunner().invoke(app, two)
    assert isinstance(done.exception, ConfigError)
    assert "the run's own --min-cohort" in str(done.exception)
    assert CliRunner().invoke(app, [*two, "--min-cohort", "2"]).exit_code == 0


def test_certs_init_warns_while_too_few_are_listed_for_a_sum(tmp_path: Path) -> None:
    first = CliRunner().invoke(app, [*INIT, "--worker", "gcp", str(tmp_path)])
    assert first.exit_code == 0
    assert "has 2 worker(s) of 2 organisation(s) so far, and a sum needs 3" in first.stderr
    again = CliRunner().invoke(app, [*INIT, "--worker", "gcp", str(tmp_path)])
    assert "so far, and a sum needs 3" in again.stderr
    for more in (("--min-cohort", "2"), ("--worker", "azure")):
        whole = CliRunner().invoke(app, [*INIT, "--worker", "gcp", *more, str(tmp_path)])
        assert whole.exit_code == 0
        assert not whole.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "--config", "none.yaml"),
        ("worker", "--config", "none.yaml"),
        (*INIT, "--worker", "UPPER", "."),
    ],
)
def test_a_wrong_setting_ends_with_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["crosscloud", *arguments])
    with pytest.raises(SystemExit) as ended:
        run()
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.out == ""
    assert said.err.startswith("crosscloud: ")
    assert said.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
