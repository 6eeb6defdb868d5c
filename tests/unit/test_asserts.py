"""`python -O` takes asserts away: none may stand between us and what is secret, or has to last.

Where only our own bug can break such a thing, `raise AssertionError` stays, and ends the process.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("common", "coordinator", "worker", "services", "commands")
    for path in (ROOT / folder).rglob("*.py")
)
HARMLESS = {
    "commands/demo/federation.py": 2,  # of a demo: it would restart what still runs
    "services/observe/prometheus.py": 1,  # a metric's labels
}


def others(source: str) -> Iterator[str]:
    """Yield asserts that do more than tell the type checker what is so.

    Without one that does, the next line fails by itself.
    """
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Assert(
                test=ast.Compare(ops=[ast.IsNot()], comparators=[ast.Constant(value=None)])
            ):
                pass
            case ast.Assert(test=ast.Call(func=ast.Name(id="isinstance"))):
                pass
            case ast.Assert():
                yield ast.unparse(node)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_assert_only_tells_the_type_checker_what_is_so(path: Path) -> None:
    found = list(others(path.read_text(encoding="utf-8")))
    assert len(found) <= HARMLESS.get(str(path.relative_to(ROOT)), 0), found


def test_an_assert_that_guards_something_is_found() -> None:
    source = "assert x is not None\nassert isinstance(x, int)\nassert self.settled, 'lost'\n"
    assert list(others(source)) == ["assert self.settled, 'lost'"]
