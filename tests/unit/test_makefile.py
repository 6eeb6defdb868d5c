"""What `make` and the scripts behind it say where something is missing, and what they leave."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rig.programs import HIDE, PROGRAMS, needed

ROOT = Path(__file__).parents[2]
OUTSIDE_MAKE = {
    k: v for k, v in os.environ.items() if k not in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS")
}
"""A `make` that tells itself to be below another one says more."""
WITHOUT_ENSUREPIP = """#!/bin/sh
test "$1" = -c && exit 0
mkdir -p "$3/bin" && touch "$3/bin/python"
echo "ensurepip is not available"
exit 1
"""
PIP_FAILS = "No matching distribution"
PYTHON_WITH_A_TALKATIVE_PIP = f"""#!/bin/sh
case "$1 $2" in
"-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
    printf '#!/bin/sh\\necho the demo\\n' > "$3/bin/crosscloud" && chmod +x "$3/bin/crosscloud" ;;
"-m pip") for n in 1 2 3 4 5 6 7 8 9; do echo "Collecting package-$n"; done
    case "$*" in *"$FAILS_AT"*) echo "{PIP_FAILS}" >&2; exit 1 ;; esac ;;
esac
"""


def said(*command: str) -> str:
    """Return what a command says that fails where all programs are hidden."""
    environ = {**OUTSIDE_MAKE, HIDE: "1"}
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


def environment(tmp_path: Path, *words: str, fails_at: str = "nothing") -> tuple[int, list[str]]:
    """Return the status and the lines of a `make demo` on a machine where nothing is yet."""
    python = tmp_path / "python"
    python.write_text(PYTHON_WITH_A_TALKATIVE_PIP)
    python.chmod(0o755)
    done = subprocess.run(
        [needed("make"), "demo", f"PYTHON={python}", f"VENV={tmp_path}/venv", *words],
        cwd=ROOT,
        env={**OUTSIDE_MAKE, "FAILS_AT": fails_at},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


@pytest.mark.program("make")
def test_an_environment_is_made_in_a_line_for_each_step(tmp_path: Path) -> None:
    status, lines = environment(tmp_path)
    assert status == 0, lines
    steps, demo = lines[:-1], lines[-1]
    assert [line.partition(":")[0] for line in steps] == [
        f"environment {i}/4" for i in (1, 2, 3, 4)
    ]
    assert demo == "the demo"
    assert environment(tmp_path) == (0, ["the demo"])


@pytest.mark.program("make")
def test_an_environment_is_made_with_all_that_pip_says_where_asked(tmp_path: Path) -> None:
    status, lines = environment(tmp_path, "V=1")
    assert status == 0, lines
    assert lines.count("Collecting package-9") == 3


@pytest.mark.program("make")
@pytest.mark.parametrize("package", ["pip>", "torch", "demo"])
@pytest.mark.parametrize("words", [(), ("V=1",)])
def test_what_pip_says_is_shown_in_full_where_it_fails(
    tmp_path: Path, package: str, words: tuple[str, ...]
) -> None:
    status, lines = environment(tmp_path, *words, fails_at=package)
    assert status != 0
    assert "the demo" not in lines
    last = lines.index(PIP_FAILS)
    assert lines[last - 9 : last] == [f"Collecting package-{n}" for n in range(1, 10)]
    assert environment(tmp_path)[0] == 0, "what failed is tried again"


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
