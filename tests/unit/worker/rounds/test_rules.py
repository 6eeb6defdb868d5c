"""Every numbered rule stands once in the list, in the protocol and among the attacks."""

import ast
import re
from pathlib import Path

import pytest

from worker.rounds import trust
from worker.rounds.round import Rule

ROOT = Path(__file__).parents[4]
LINE = re.compile(r" +(\d+)?  (.*?\S)  +(\S.*)")


def listed() -> list[tuple[int, str, tuple[str, ...]]]:
    """Return the lines of the list: number, what is refused, FILE.FUNCTION."""
    found: list[tuple[int, str, tuple[str, ...]]] = []
    for line in (trust.__doc__ or "").splitlines():
        if parts := LINE.fullmatch(line):
            number = int(parts[1]) if parts[1] else found[-1][0]
            found.append((number, parts[2], tuple(parts[3].split(", "))))
    return found


def numbers(text: str, pattern: str) -> list[int]:
    return [int(number) for number in re.findall(pattern, text, re.MULTILINE)]


def test_every_rule_stands_in_the_list_once_and_in_order() -> None:
    assert numbers(trust.__doc__ or "", r"^ +(\d+)  ") == [*Rule]


def test_the_protocols_table_has_the_same_rules() -> None:
    page = (ROOT / "docs/protocol.md").read_text()
    section = re.search(r"(?s)\n## 7\. .*?(?=\n## )", page)
    assert section
    assert numbers(section[0], r"^\| (\d+) \|") == [*Rule]


@pytest.mark.parametrize(("number", "what", "places"), listed(), ids=lambda x: str(x))
def test_a_rule_is_checked_where_the_list_says(
    number: int, what: str, places: tuple[str, ...]
) -> None:
    assert what
    for place in places:
        path, _, function = place.rpartition(".")
        file = ROOT / (f"{path}.py" if "/" in path else f"worker/rounds/{path}.py")
        tree = ast.walk(ast.parse(file.read_text()))
        defined = [f for f in tree if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)]
        assert function in {f.name for f in defined}, place


@pytest.mark.parametrize("rule", Rule, ids=lambda rule: rule.name)
def test_every_rule_has_an_attack_that_it_stops(rule: Rule) -> None:
    attacks = (ROOT / "tests/attacks").glob("test_*.py")
    assert any(re.search(rf"\bRule\.{rule.name}\b", path.read_text()) for path in attacks)
