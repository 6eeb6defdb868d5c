"""The explorer finds the attack that each rule stops, and none while all are on.

`explorer/rule_N.txt` is the shortest way there that it found with rule N off: its steps, and what
they break. `python -m simulator.explorer --traces tests/scenarios/explorer` writes them anew.
"""

from pathlib import Path

import pytest

from common.rounds import Rule
from simulator.explorer.campaign import DOUBLED, UNREACHED, off
from simulator.explorer.search import Search

FOLDER = Path(__file__).parent / "explorer"
TRACES = sorted(FOLDER.glob("rule_*.txt"), key=lambda path: int(path.stem[5:]))
QUICK = (Rule.ROSTER, Rule.UNRESOLVED, Rule.MEMBERS, Rule.SURVIVORS, Rule.REVEAL, Rule.RECORD)
"""Rules whose attack is found within a second or two."""


def told(path: Path) -> tuple[Search, list[str], str]:
    """Return a search with the trace's rules off, its steps, and what they break."""
    head, steps, broken = path.read_text().split("\n----\n")
    given = dict(word.split("=") for word in head.splitlines()[-1].split())
    rules = frozenset(rule for rule in Rule if str(rule.value) in given["off"].split(","))
    search = Search(int(given["workers"]), rules, deaths=0, lies=int(given["lies"]))
    return search, steps.splitlines(), broken.strip()


def test_each_rule_has_its_attack_or_a_reason_why_nothing_reaches_it() -> None:
    assert {int(path.stem[5:]) for path in TRACES} | set(UNREACHED) == set(Rule)
    for path in TRACES:
        (rule,) = (rule for rule in Rule if rule.value == int(path.stem[5:]))
        assert told(path)[0].unsafe == off(rule)


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_with_its_rule_off_a_trace_breaks_a_promise_and_with_it_none(path: Path) -> None:
    search, steps, broken = told(path)
    assert search.follow(steps) == broken
    safe = Search(search.num_workers, deaths=0, lies=search.lies)
    assert safe.follow(steps, strictly=False) == ""


@pytest.mark.parametrize("rule", DOUBLED, ids=lambda rule: rule.name)
def test_a_doubled_rule_s_attack_is_stopped_by_either(rule: Rule) -> None:
    search, steps, _ = told(FOLDER / f"rule_{rule.value}.txt")
    for one in (rule, DOUBLED[rule]):
        alone = Search(search.num_workers, frozenset({one}), deaths=0, lies=search.lies)
        assert alone.follow(steps, strictly=False) == ""


@pytest.mark.parametrize("rule", QUICK, ids=lambda rule: rule.name)
def test_the_search_finds_a_trace_that_is_no_longer(rule: Rule) -> None:
    search, steps, _ = told(FOLDER / f"rule_{rule.value}.txt")
    found = search.run(len(steps), float("inf"))
    assert found.broken
    assert len(found.trace) == len(steps)


@pytest.mark.parametrize(
    ("num_workers", "lies", "deaths", "depth"),
    [(3, 0, 1, 5), (3, 1, 0, 4), (4, 0, 0, 6)],
)
def test_with_all_rules_on_nothing_is_found(
    num_workers: int, lies: int, deaths: int, depth: int
) -> None:
    found = Search(num_workers, deaths=deaths, lies=lies).run(depth, float("inf"))
    assert not found.broken, "\n".join(map(str, (found.broken, *found.trace)))
    assert found.depth == depth


def test_a_step_that_nobody_can_be_led_to_is_an_error() -> None:
    with pytest.raises(LookupError, match="no worker can be led so"):
        Search(3).follow(["all <- survivors: a,b,c"])
