"""Every command of the pages is one that there is, with arguments that it takes."""

import importlib.util
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from commands.app import app
from tests.docs.pages import (
    LANGUAGES,
    PAGES,
    ROOT,
    Command,
    blocks,
    commands,
    inline_commands,
    spans,
)

TREE: Any = typer.main.get_command(app)
MAKEFILE = (ROOT / "Makefile").read_text()
PROCESSES = ("coordinator", "worker", "evaluator")
FILES = {
    **{name: {name} for name in PROCESSES},
    "genesis": {"run"},
    "export": {"evaluator"},
    **{name: {*PROCESSES, "operator"} for name in ("doctor", "probe")},
    **{name: {"operator"} for name in ("status", "pause", "resume", "stop", "rollback")},
}
"""Which settings file each command takes."""
PLACEHOLDERS = {"ROLE": PROCESSES, "VERSION": ("12",), "USD": ("0.05",)}
OTHERS_OPTIONS = {"--build-arg", "--secret", "--constraint", "--data"}
"""Of docker, pip and a benchmark."""
NOT_RUN = {
    "git": "needs a remote repository",
    "cd": "goes where the line before it led",
    "grpcurl": "another project's program, which asks a coordinator that runs",
    "mv": "run in test_recipes.py",
    "rm": "run in test_recipes.py",
    "docker kill": "needs an engine: tests/deploy/test_compose.py",
    "docker run": "needs an engine: tests/deploy/test_compose.py",
    "docker start": "needs an engine: tests/deploy/test_compose.py",
    "pip download": "needs an index, and names no package here",
}


def leaves(command: Any = TREE, *path: str) -> Iterator[tuple[str, ...]]:
    for name, under in command.commands.items():
        if hasattr(under, "commands"):
            yield from leaves(under, *path, name)
        else:
            yield *path, name


def options(command: Any) -> set[str]:
    own = {o for p in command.params for o in (*p.opts, *p.secondary_opts) if o.startswith("-")}
    return own.union(*map(options, getattr(command, "commands", {}).values()))


def refuse_crosscloud(words: tuple[str, ...], *, is_whole: bool) -> None:
    """Take a line of ours as the command line does; what is missing may be, in mid-sentence."""
    command, context, rest = TREE, None, [*words]
    try:
        while hasattr(command, "commands"):
            context = command.make_context(command.name or "crosscloud", rest, parent=context)
            name, command, rest = command.resolve_command(
                context, [*context._protected_args, *context.args]
            )
        context = command.make_context(name, rest, parent=context)
    except typer.Exit:
        assert {"--help", "--version"} & set(words)
    except Exception as e:
        if is_whole or type(e).__name__ not in ("MissingParameter", "NoArgsIsHelpError"):
            raise AssertionError(f"{type(e).__name__}: {e}") from e
    else:
        config = context.params.get("config")
        if config is not None and name in FILES and re.fullmatch(r"[a-z-]+\.yaml", str(config)):
            assert config.stem in FILES[name], f"{name} takes {sorted(FILES[name])}, not {config}"


def check_crosscloud(words: tuple[str, ...], *, is_whole: bool) -> None:
    for placeholder, values in PLACEHOLDERS.items():
        if placeholder in words:
            i = words.index(placeholder)
            for value in values:
                check_crosscloud((*words[:i], value, *words[i + 1 :]), is_whole=is_whole)
            return
    refuse_crosscloud(words, is_whole=is_whole)


def check_make(words: tuple[str, ...], *, is_whole: bool) -> None:
    phony = re.search(r"(?ms)^\.PHONY:(.*)", MAKEFILE)
    assert phony
    for word in words:
        variable, sign, _ = word.partition("=")
        known = f"({variable})" in MAKEFILE if sign else word in phony[1].split()
        assert known, f"make knows no {word}"


def check_python(words: tuple[str, ...], *, is_whole: bool) -> None:
    flag, module, *rest = words
    assert flag == "-m"
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"there is no module {module}"
    assert spec.origin is not None
    text = Path(spec.origin).read_text()
    for option in (word for word in rest if word.startswith("--")):
        assert f'"{option}"' in text, f"{module} has no {option}"


def check_pytest(words: tuple[str, ...], *, is_whole: bool) -> None:
    ours = (ROOT / "tests/conftest.py").read_text()
    for word in words:
        if word.startswith("--"):
            assert f'"{word}"' in ours, word
        else:
            assert word.isdigit() or (ROOT / word).exists(), word


def check_pip(words: tuple[str, ...], *, is_whole: bool) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    install, what = words
    found = re.fullmatch(r"(?:\.|crosscloud)(?:\[(\w+)\])?", what)
    assert install == "install", words
    assert found, words
    assert found[1] is None or found[1] in extras["optional-dependencies"], words


def check_docker(words: tuple[str, ...], *, is_whole: bool) -> None:
    file = ROOT / words[words.index("-f") + 1]
    if words[0] == "build":
        assert f" AS {words[words.index('--target') + 1]}\n" in file.read_text()
        return
    services = yaml.safe_load(file.read_text())["services"]
    compose, _, _, action, *rest = words
    assert (compose, action) in (("compose", "up"), ("compose", "run")), words
    assert all(word.startswith("--") or word in services for word in rest), words


CHECKS: dict[str, Callable[..., None]] = {
    "crosscloud": check_crosscloud,
    "docker": check_docker,
    "make": check_make,
    "pip": check_pip,
    "pytest": check_pytest,
    "python": check_python,
}


def check(command: Command) -> None:
    """Refuse a command that is not as its program would have it.

    Raises:
        AssertionError: it is not; says where it stands.
    """
    program, *words = command.words
    if {program, " ".join(command.words[:2])} & NOT_RUN.keys():
        return
    assert program in CHECKS, f"{command.where}: {program}: check it here, or say why not"
    try:
        CHECKS[program](tuple(words), is_whole=command.is_whole)
    except (AssertionError, ValueError) as e:
        raise AssertionError(f"{command.where}: {' '.join(command.words)}: {e}") from e


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_block_says_its_language(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block.where}: one of {', '.join(LANGUAGES)}"
        if block.language == "text":
            words = {line.split()[0] for line in block.text.splitlines() if line.strip()}
            assert not words & (CHECKS.keys() | NOT_RUN.keys()), f"{block.where}: that is sh"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_line_of_a_shell_block_can_be_typed(page: Path) -> None:
    for block in blocks(page):
        if block.language == "sh":
            found = [*commands(block)]
            assert found, block.where
            for command in found:
                check(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_within_a_line_is_one(page: Path) -> None:
    programs = CHECKS.keys() | {name.partition(" ")[0] for name in NOT_RUN}
    for command in inline_commands(page):
        bare = len(command.words) == 1 and command.words[0] != "make"
        if command.words[0] in programs and not bare:
            check(command)
        elif command.words[0] in TREE.commands and "--config" in command.words:
            check(Command(command.where, ("crosscloud", *command.words), is_whole=False))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_option_within_a_line_is_one_of_a_command(page: Path) -> None:
    known = options(TREE) | OTHERS_OPTIONS
    for where, code in spans(page):
        if code.startswith("--"):
            assert code.split()[0].partition("=")[0] in known, f"{where}: {code}"


@pytest.mark.parametrize("path", [*leaves()], ids=" ".join)
def test_every_command_explains_itself_and_its_options(path: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*path, "--help"])
    assert done.exit_code == 0, done.output
    assert "Usage: " in done.output


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("crosscloud satus", "satus"),
        ("crosscloud status --conf operator.yaml", "--conf"),
        ("crosscloud status --config worker.yaml", "takes"),
        ("crosscloud rollback --config operator.yaml", "Missing"),
        ("crosscloud demo --seconds many", "many"),
        ("make tset", "tset"),
        ("make up OVERLAY=x", "OVERLAY"),
        ("python -m benchmarks.nothing", "nothing"),
        ("python -m benchmarks.compression --sed 1", "--sed"),
        ("pytest tests/nothing.py", "nothing"),
        ("pip install .[wroker]", "wroker"),
        ("docker compose -f deploy/compose/compose.yaml run oprator", "oprator"),
        ("docker build -f deploy/docker/Dockerfile --target web .", "web"),
        ("crosscluod status", "crosscluod"),
    ],
)
def test_a_command_that_there_is_not_is_found(line: str, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check(Command("page:1", tuple(line.split()), is_whole=True))
