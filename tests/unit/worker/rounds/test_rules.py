"""Every numbered rule stands once in the list, in the protocol and among the attacks."""

import ast
import re
from pathlib import Path

import pytest

from common.rounds import ATTACKED, Rule
from worker.rounds import trust

ROOT = Path(__file__).parents[4]
LINE = re.compile(r" +(\d+)?  (.*?\S)  +(\S.*)")


def listed() -> list[tuple[int, str, tuple[str, ...]]]:
    """Return the list, which is all that is indented: number, what is refused, FILE.FUNCTION."""
    found: list[tuple[int, str, tuple[str, ...]]] = []
    for line in (trust.__doc__ or "").splitlines():
        if not line.startswith(" "):
            continue
        parts = LINE.fullmatch(line)
        assert parts, f"this is no row: number, what is refused, FILE.FUNCTION: {line!r}"
        number = int(parts[1]) if parts[1] else found[-1][0]
        found.append((number, parts[2], tuple(parts[3].split(", "))))
    return found


def numbers(text: str, pattern: str) -> list[int]:
    return [int(number) for number in re.findall(pattern, text, re.MULTILINE)]


def functions(path: Path) -> dict[str, list[str]]:
    """Return the source of each function of a file, by its name."""
    text, found = path.read_text(), dict[str, list[str]]()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.setdefault(node.name, []).append(ast.get_source_segment(text, node) or "")
    return found


def spoken_of(source: str) -> set[int]:
    """Return the rules that a function uses, or names: "Rule.TERMS", "rule 6, 11 or 13"."""
    used = {int(Rule[name]) for name in re.findall(r"\bRule\.([A-Z_]+)\b", source)}
    told = re.findall(r"\brules? (\d+(?:(?:, | or | and )\d+)*)", source)
    return used | {n for text in told for n in numbers(text, r"\d+")}


SENTENCES = [(int(rule), rule.sentence) for rule in Rule]


def test_every_rule_stands_in_the_list_in_order_and_first_in_its_own_words() -> None:
    assert numbers(trust.__doc__ or "", r"^ +(\d+)  ") == [*Rule]
    rows = listed()
    first = {number: what for number, what, _ in reversed(rows)}
    assert [(number, first[number]) for number in sorted(first)] == SENTENCES


def section_7() -> str:
    page = (ROOT / "docs/protocol.md").read_text()
    section = re.search(r"(?s)\n## 7\. .*?(?=\n## )", page)
    assert section
    return section[0]


def test_the_protocols_table_has_the_same_rules_in_the_same_words() -> None:
    rows = re.findall(r"^\| (\d+) \| \*\*(.*?)\*\*", section_7(), re.MULTILINE)
    assert [(int(number), sentence) for number, sentence in rows] == SENTENCES


def test_the_protocol_names_the_rules_that_only_an_attack_breaks() -> None:
    said = re.search(r"Rules ([\d, and]+) it cannot", section_7())
    assert said
    assert numbers(said[1], r"\d+") == [*ATTACKED]
    assert 0 < len(ATTACKED) < len(Rule)


@pytest.mark.parametrize(("number", "what", "places"), listed(), ids=lambda x: str(x))
def test_a_rule_is_checked_where_the_list_says(
    number: int, what: str, places: tuple[str, ...]
) -> None:
    assert what
    for place in places:
        path, _, function = place.rpartition(".")
        file = ROOT / (f"{path}.py" if "/" in path else f"worker/rounds/{path}.py")
        sources = functions(file).get(function, [])
        assert any(number in spoken_of(source) for source in sources), place


@pytest.mark.parametrize("rule", Rule, ids=lambda rule: rule.name)
def test_every_rule_has_an_attack_that_it_stops(rule: Rule) -> None:
    # who reads a record that cannot be does not refuse a round: it stops
    stops = {Rule.RECORD: r"raises\(DivergedError, match="}
    stopped = stops.get(rule, rf"refused\(Rule\.{rule.name}\)")
    attacks = (ROOT / "tests/attacks").glob("test_*.py")
    assert any(re.search(stopped, path.read_text()) for path in attacks)
