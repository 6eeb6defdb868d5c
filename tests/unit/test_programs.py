"""Optional programs are found in one way, and a machine that has none of them passes."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig import programs
from tests.rig.programs import HIDE, PROGRAMS, LackingError, compose, find, lacking, needed

ROOT = Path(__file__).parents[2]
HERE = Path(programs.__file__)
CODE = ("benchmarks", "common", "coordinator", "crosscloud", "deploy", "examples", "services")
FOLDERS = (*CODE, "commands", "simulator", "tests", "worker")
OWN = {HERE, Path(__file__)}
SOURCES = sorted({path for f in FOLDERS for path in (ROOT / f).rglob("*.py")} - OWN)
CALLED = {n for name, row in PROGRAMS.items() for n in row.names or (name,)}
LOOKS = {"which", "get_exec_path", "find_executable"}
"""Functions that search PATH."""
STARTS = re.compile(
    r"^subprocess\.(run|call|check_call|check_output|Popen)$|\bcreate_subprocess_exec$"
    r"|^LocalProcess$|^os\.(exec|spawn|posix_spawn)"
)
SHELL = re.compile(r"^os\.(system|popen)$|^subprocess\.get\w*output$|\bcreate_subprocess_shell$")
NAMED = (ast.Constant, ast.JoinedStr)
ASKS = {"find", "needed", "lacking", "program"}
"""Functions, and the mark, that take the name of a row."""


@pytest.fixture(autouse=True)
def nothing_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HIDE, raising=False)


def put(folder: Path, name: str, script: str = "exit 0") -> str:
    """Make a program."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_a_program_on_the_path_is_found(folder: Path) -> None:
    path = put(folder, "promtool")
    assert find("promtool") == needed("promtool") == path
    assert lacking("promtool") == ""


def test_a_program_may_have_several_names(folder: Path) -> None:
    path = put(folder, "google-chrome")
    assert find("chromium") == path


def test_what_is_missing_is_said_with_what_it_is_for_and_how_to_get_it(folder: Path) -> None:
    put(folder, "ip")
    assert find("tc") is None
    said = "tc is not on PATH; it is for the speed of a link; Debian: apt-get install iproute2"
    assert lacking("ip", "tc") == said
    with pytest.raises(LackingError) as raised:
        needed("tc")
    assert str(raised.value) == said


def test_all_can_be_hidden(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CALLED:
        put(folder, name)
    assert all(map(find, PROGRAMS))
    monkeypatch.setenv(HIDE, "1")
    assert not any(map(find, PROGRAMS))
    assert f"ss is hidden by {HIDE}" in lacking("ss")


def test_a_name_without_a_row_is_our_own_bug() -> None:
    with pytest.raises(KeyError):
        find("sh")


ENGINE = 'test "$1" = version && echo 28'
PLUGGED = f'test "$1" = compose && echo v2.24.1 || {ENGINE}'


@pytest.mark.parametrize(
    ("docker", "words"), [(PLUGGED, ["docker", "compose"]), (ENGINE, ["docker-compose"])]
)
def test_compose_is_called_as_it_is_installed(folder: Path, docker: str, words: list[str]) -> None:
    put(folder, "docker", docker)
    put(folder, "docker-compose", "echo 2.26.1")
    assert compose() == [str(folder / words[0]), *words[1:]]


@pytest.mark.parametrize(
    ("docker", "alone", "said"),
    [
        (None, "echo 2.26.1", "docker is not on PATH"),
        ("exit 1", "echo 2.26.1", "no Docker engine answers"),
        (ENGINE, None, "Compose v2 is missing"),
        (ENGINE, "echo 1.29.2", "Compose v2 is missing"),
    ],
)
def test_without_compose_it_is_said_what_is_missing(
    folder: Path, docker: str | None, alone: str | None, said: str
) -> None:
    for name, script in (("docker", docker), ("docker-compose", alone)):
        if script is not None:
            put(folder, name, script)
    with pytest.raises(LackingError, match=f"^{said}.*https://"):
        compose()


def run(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    command = (sys.executable, *arguments)
    return subprocess.run(
        command, cwd=ROOT, env={"PATH": "", **environ}, capture_output=True, text=True, check=False
    )


def test_make_is_told_what_is_missing_in_one_line_and_how_to_get_it() -> None:
    done = run("-S", "-m", "tests.rig.programs", "compose")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("docker is not on PATH; it is for")
    assert done.stderr.count("\n") == 1


def test_the_table_shows_every_program(tmp_path: Path) -> None:
    path = put(tmp_path, "ss")
    done = run("-S", "-m", "tests.rig.programs", PATH=str(tmp_path))
    for name, row in PROGRAMS.items():
        assert f"{name:17} {path if name == 'ss' else '-'}\n" in done.stdout
        assert f"for {row.purpose}; {row.source}\n" in done.stdout


STARTED = """
import os, subprocess, sys
from tests.rig.programs import refuse_hidden
refuse_hidden()
subprocess.run([sys.executable, "-c", ""], check=True)
{start}
"""


@pytest.mark.parametrize(
    "start",
    [
        "subprocess.run([{path!r}])",
        "subprocess.run(['ss'], executable={path!r})",
        "os.execv({path!r}, ['x'])",
        "os.posix_spawn({path!r}, ['x'], {{}})",
    ],
)
def test_what_is_hidden_cannot_be_started_either(tmp_path: Path, start: str) -> None:
    code = STARTED.format(start=start.format(path=put(tmp_path, "ss")))
    assert run("-c", code).returncode == 0
    refused = run("-c", code, **{HIDE: "1"})
    assert refused.returncode != 0
    assert f"ss is hidden by {HIDE}, and was started all the same" in refused.stderr


def problems(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield where a source looks for a program, or starts one, without `tests.rig.programs`.

    What is put together out of sight of this is refused when it is started: `refuse_hidden`.
    """
    for place in ast.walk(tree):
        match place:
            case ast.Attribute(attr=name) | ast.alias(name=name) if name in LOOKS:
                yield place.lineno, f"looks on PATH: {name}"
            case ast.ImportFrom(module="subprocess"):
                yield place.lineno, "imports names of subprocess, which hides what is started"
            case ast.List(elts=words) | ast.Tuple(elts=words) if is_command(words):
                yield place.lineno, f"a command: {ast.unparse(place)}"
            case ast.Call():
                if any(k.arg == "shell" for k in place.keywords) or SHELL.search(called(place)):
                    yield place.lineno, "a shell would look on PATH"
                if STARTS.search(called(place)) and isinstance(head(place), NAMED):
                    yield place.lineno, f"starts {ast.unparse(head(place))}"


def is_command(words: list[ast.expr]) -> bool:
    """Return whether a program's name stands before other words."""
    constants = [w.value for w in words if isinstance(w, ast.Constant)]
    return (
        len(words) > 1
        and isinstance(words[0], ast.Constant)
        and words[0].value in CALLED
        and all(isinstance(c, str) for c in constants)
    )


def called(call: ast.Call) -> str:
    return ast.unparse(call.func)


def head(call: ast.Call) -> ast.expr:
    """Return the first word of the command that is started."""
    (command,) = call.args[1:2] if called(call) == "LocalProcess" else call.args[:1]
    return command.elts[0] if isinstance(command, ast.List | ast.Tuple) else command


def test_nothing_looks_for_a_program_or_starts_one_in_another_way() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in SOURCES
        for line, what in problems(ast.parse(path.read_text()))
    ]
    assert not found, f"ask tests.rig.programs: {found}"


def test_no_script_looks_on_the_path_either() -> None:
    scripts = [path for f in FOLDERS for path in (ROOT / f).rglob("*.sh")]
    assert scripts
    looks = re.compile(r"command -v|type -P|[(`]which ")
    scripts += [ROOT / "Makefile", ROOT / ".ci" / "run"]
    assert not [path for path in scripts if looks.search(path.read_text())]


@pytest.mark.parametrize(
    "source",
    [
        "shutil.which('tc')",
        "from shutil import which",
        "from subprocess import run",
        "subprocess.run(['redis-server', path])",
        "subprocess.Popen(('ps', '-e'))",
        "subprocess.check_output('ps')",
        "subprocess.run(f'{name} -e')",
        "subprocess.run(words, shell=True)",
        "os.system(words)",
        "os.execvp('ps', words)",
        "asyncio.create_subprocess_exec('ps', '-e')",
        "LocalProcess('redis', ('some-server', path), log, {})",
        "command = ['ss', '-t']",
        "command = ('google-chrome', page)",
    ],
)
def test_the_rule_finds_what_it_forbids(source: str) -> None:
    assert list(problems(ast.parse(source)))


def test_every_row_has_somebody_who_asks_for_it() -> None:
    asked = {
        place.value
        for path in (HERE, *SOURCES)
        for place in ast.walk(ast.parse(path.read_text()))
        if isinstance(place, ast.Call) and called(place).rpartition(".")[2] in ASKS
        for place in place.args
        if isinstance(place, ast.Constant)
    }
    assert asked == PROGRAMS.keys()
