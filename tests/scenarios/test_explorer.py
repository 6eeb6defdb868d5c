"""The explorer finds the attack that each rule stops, and none while all are on.

`explorer/rule_N.txt` is the shortest way there that it found with rule N off: its steps, and what
they break. `python -m simulator.explorer --traces tests/scenarios/explorer` writes them anew.
"""

from pathlib import Path

import pytest

from common.rounds import Rule
from simulator.explorer.campaign import AIMS, DOUBLED, SAFE, UNREACHED, off, searched
from simulator.explorer.search import Search

FOLDER = Path(__file__).parent / "explorer"


def told(rule: Rule) -> tuple[list[str], str]:
    """Return the steps of a rule's trace, and what they break."""
    _, steps, broken = (FOLDER / f"rule_{rule.value}.txt").read_text().split("\n----\n")
    return steps.splitlines(), broken.strip()


def test_each_rule_has_its_attack_or_a_reason_why_nothing_reaches_it() -> None:
    assert AIMS.keys() | UNREACHED.keys() == set(Rule)
    assert {int(path.stem[5:]) for path in FOLDER.iterdir()} == {rule.value for rule in AIMS}


@pytest.mark.parametrize("rule", AIMS, ids=lambda rule: rule.name)
def test_with_a_rule_off_its_trace_breaks_a_promise_and_with_it_none(rule: Rule) -> None:
    steps, broken = told(rule)
    assert searched(AIMS[rule], off(rule)).follow(steps) == broken
    assert searched(AIMS[rule], SAFE).follow(steps, strictly=False) == ""


@pytest.mark.parametrize("rule", DOUBLED, ids=lambda rule: rule.name)
def test_a_doubled_rule_s_attack_is_stopped_by_either(rule: Rule) -> None:
    steps, _ = told(rule)
    for one in (rule, DOUBLED[rule]):
        search = searched(AIMS[rule], frozenset({one}))
        assert search.follow(steps, strictly=False) == ""


@pytest.mark.parametrize("rule", AIMS, ids=lambda rule: rule.name)
def test_the_search_finds_a_trace_of_that_length(rule: Rule) -> None:
    steps, broken = told(rule)
    aim = AIMS[rule]
    found = searched(aim, off(rule)).run(len(steps), float("inf"), aim.led)
    assert (found.broken, [*aim.led, *map(str, found.trace)]) == (broken, steps)


@pytest.mark.parametrize(
    ("num_workers", "lies", "deaths", "depth"), [(3, 0, 1, 5), (3, 1, 0, 3), (4, 0, 0, 4)]
)
def test_with_all_rules_on_nothing_is_found(
    num_workers: int, lies: int, deaths: int, depth: int
) -> None:
    found = Search(num_workers, deaths=deaths, lies=lies).run(depth, float("inf"))
    assert not found.broken, "\n".join(map(str, (found.broken, *found.trace)))
    assert found.depth == depth


@pytest.mark.long("the bounded searches stay; `make explore` goes deeper for ten minutes")
@pytest.mark.parametrize(("num_workers", "lies", "deaths"), [(3, 2, 1), (4, 1, 0)])
def test_with_all_rules_on_nothing_is_found_in_two_minutes(
    num_workers: int, lies: int, deaths: int
) -> None:
    found = Search(num_workers, deaths=deaths, lies=lies).run(50, 120.0)
    assert not found.broken, "\n".join(map(str, (found.broken, *found.trace)))


def test_a_step_that_nobody_can_be_led_to_is_an_error() -> None:
    with pytest.raises(LookupError, match="no worker can be led so"):
        Search(3).follow(["all <- survivors: a,b,c"])
