"""The house rules that no other tool checks."""

import ast
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = (
    "crosscloud",
    "commands",
    "simulator",
    "protos",
    "common",
    "coordinator",
    "worker",
    "services",
)
SOURCES = sorted(
    path
    for folder in OURS
    for path in (ROOT / folder).rglob("*.py")
    if not re.search(r"_pb2(_grpc)?\.py$", path.name)
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
PROTOS = sorted((ROOT / "protos").rglob("*.proto"))

MOST_LINES = 600
LINES_WITHOUT_REASON = 400
MOST_LINES_OF_A_CLASS = 400
MOST_ROOMS = 10
FORBIDDEN_WORDS = {"client", "clients", "node", "nodes", "peer", "peers"} | {
    "participant",
    "participants",
    "chunk",
    "chunks",
}
NAMES_OF_LIBRARIES = {"_client"}  # a Redis client is called so by everybody
FORBIDDEN_MODULES = {"utils", "helpers", "misc", "base", "manager"}


def test_no_other_distribution_claims_our_import_names() -> None:
    owners = importlib.metadata.packages_distributions()
    claimed = {name: set(owners[name]) - {"crosscloud"} for name in set(OURS) & owners.keys()}
    assert not any(claimed.values()), claimed


def test_no_file_is_too_long_and_long_ones_say_why() -> None:
    problems = []
    for path in (*SOURCES, *TESTS, *BENCHMARKS):
        text = path.read_text()
        num_lines = text.count("\n")
        reason = "long because" in (ast.get_docstring(ast.parse(text)) or "")
        if num_lines > (MOST_LINES if reason else LINES_WITHOUT_REASON):
            problems.append(f"{path.relative_to(ROOT)}: {num_lines} lines")
    assert not problems, f"split them, or let the docstring say 'long because ...': {problems}"


def test_no_class_is_too_long() -> None:
    problems = [
        f"{path.relative_to(ROOT)}: {name}: {num_lines} lines"
        for path in (*SOURCES, *TESTS, *BENCHMARKS)
        for name, num_lines in _classes(path.read_text())
        if num_lines > MOST_LINES_OF_A_CLASS
    ]
    assert not problems, f"what of it is a thing of its own? {problems}"


def test_the_class_rule_counts_decorators_and_nested_classes() -> None:
    source = "@a\nclass A:\n    x = 1\n\n    class B:\n        y = 2\n"
    assert dict(_classes(source)) == {"A": 6, "B": 2}


def test_one_word_per_idea() -> None:
    problems = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in SOURCES
        for line, name in _defined_names(ast.parse(path.read_text()))
        if _words(name) & FORBIDDEN_WORDS and name not in NAMES_OF_LIBRARIES
    ]
    problems += [
        f"{path.name}: {name}"
        for path in PROTOS
        for name in re.findall(r"\b\w+\b", _without_comments(path.read_text()))
        if _words(name) & FORBIDDEN_WORDS
    ]
    assert not problems, f"worker, offer, cohort, round, shard, ...: {problems}"


def test_every_file_of_services_has_a_room() -> None:
    loose = {path.name for path in (ROOT / "services").iterdir() if path.is_file()}
    assert loose == {"__init__.py", "py.typed"}, (
        "name its room: see the contracts in pyproject.toml"
    )
    rooms = {path.parent.name for path in (ROOT / "services").glob("*/__init__.py")}
    assert len(rooms) <= MOST_ROOMS


def test_benchmarks_use_the_rig_of_the_tests_and_nothing_else_of_them() -> None:
    imports = [
        (path.name, line)
        for path in (ROOT / "benchmarks").rglob("*.py")
        for line in path.read_text().splitlines()
        if re.match(r"\s*(from|import) tests\b", line)
    ]
    assert not [each for each in imports if not re.match(r"\s*from tests\.rig\b", each[1])]


def test_modules_are_called_by_what_they_hold() -> None:
    assert not [path for path in SOURCES if path.stem in FORBIDDEN_MODULES | FORBIDDEN_WORDS]


def test_every_package_says_what_it_holds_and_is_typed() -> None:
    for folder in OURS:
        assert (ROOT / folder / "py.typed").is_file(), folder
    for path in SOURCES:
        assert ast.get_docstring(ast.parse(path.read_text())), path.relative_to(ROOT)


@pytest.mark.parametrize("path", PROTOS, ids=lambda p: p.name)
def test_protos_say_what_their_calls_and_bytes_are(path: Path) -> None:
    lines = path.read_text().splitlines()
    problems = []
    for i, line in enumerate(lines):
        code = _without_comments(line).strip()
        said = "//" in line or (i > 0 and lines[i - 1].strip().startswith("//"))
        if re.match(r"(bytes|repeated bytes|map<\w+, bytes>) ", code) and not said:
            problems.append(f"{i + 1}: bytes without their encoding: {code}")
        goes_on = lines[i - 1].strip().startswith(("rpc ", "service "))
        if code.startswith("rpc ") and not said and not goes_on:
            problems.append(f"{i + 1}: a call without a word: {code}")
        if code.startswith("service ") and not said:
            problems.append(f"{i + 1}: a service without a word: {code}")
    assert not problems


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("def peer_of(x): ...", "peer_of"),
        ("class RedisClient: ...", "RedisClient"),
        ("def f(num_chunks): ...", "num_chunks"),
        ("self.nodes = 1", "nodes"),
    ],
)
def test_the_word_rule_finds_what_it_forbids(source: str, name: str) -> None:
    (found,) = (n for _, n in _defined_names(ast.parse(source)) if _words(n) & FORBIDDEN_WORDS)
    assert found == name


def _defined_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield what our code names itself; what it merely uses may have a library's name."""
    for place in ast.walk(tree):
        match place:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield place.lineno, place.name
            case ast.arg():
                yield place.lineno, place.arg
            case ast.Name(ctx=ast.Store()):
                yield place.lineno, place.id
            case ast.Attribute(ctx=ast.Store()):
                yield place.lineno, place.attr


def _classes(source: str) -> Iterator[tuple[str, int]]:
    """Yield each class of a file, with its lines."""
    for place in ast.walk(ast.parse(source)):
        if isinstance(place, ast.ClassDef):
            begin = min([place.lineno, *(d.lineno for d in place.decorator_list)])
            assert place.end_lineno is not None  # it was parsed from text
            yield place.name, place.end_lineno - begin + 1


def _words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def _without_comments(text: str) -> str:
    return re.sub(r"//.*", "", text)
