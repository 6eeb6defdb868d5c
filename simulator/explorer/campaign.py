"""What is searched, in which order, and the table that comes of it.

With all rules on nothing may be found, to the depth that the time allows. With one off, the attack
that it stops is: its shortest trace is what the rule is for. A rule that another one doubles is
switched off with that one.
"""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

from typing_extensions import override

from common.rounds import Rule
from simulator.explorer.search import Found, Search

SAFE: Final[frozenset[Rule]] = frozenset()
"""All rules are on."""

DOUBLED: Final = {Rule.COHORT: Rule.TERMS, Rule.HEAD: Rule.TERMS, Rule.SHARE: Rule.TERMS}
"""Rule 1 refuses it, too: no commit may have such a plan; no run may let a member be more."""

UNREACHED: Final = {
    Rule.REPEATED: "no order of messages makes a worker mask twice: rules 2, 7 and 9 come before",
}
"""Rules without an attack here, and why; tests/attacks calls what they guard by itself."""


@dataclass(frozen=True, slots=True)
class Aim:
    """Where the attack on a rule is looked for: the whole space is too wide for a few minutes.

    Args:
        kinds: of lies, all of which the trace may hold.
        led: steps that are taken first.
    """

    num_workers: int = 3
    kinds: tuple[str, ...] = ()
    led: tuple[str, ...] = ()


_ROUND: Final = tuple(
    f"all <- {move}"
    for move in (
        "plan: a,b,c",
        "members: a,b,c",
        "survivors: a,b,c",
        "commit of a,b,c",
        "words",
    )
)
"""A round as a true coordinator plays it."""

AIMS: Final = {
    Rule.TERMS: Aim(kinds=("plan of tier tls",)),
    Rule.OFFER: Aim(kinds=("plan with a used offer",)),
    Rule.ROSTER: Aim(kinds=("plan with invented members",)),
    Rule.COHORT: Aim(kinds=("plan with a low threshold",)),
    Rule.HEAD: Aim(kinds=("plan on another base",)),
    Rule.SHARE: Aim(kinds=("unequal pace",)),
    Rule.UNRESOLVED: Aim(),
    Rule.SEALED: Aim(kinds=("plan with a member whose keys are none",)),
    Rule.MEMBERS: Aim(kinds=("members",)),
    Rule.SURVIVORS: Aim(4, led=("all <- plan: a,b,c,d",)),
    Rule.SIGNATURES: Aim(
        5,
        ("survivors to one", "signatures"),
        (
            "all <- plan: a,b,c,d,e",
            "all <- members: a,b,c,d,e",
            "a <- survivors: a,b,c",
            "c <- survivors: a,b,c",
            "b <- survivors: a,b,d",
            "d <- survivors: a,b,d",
        ),
    ),
    Rule.REVEAL: Aim(),
    Rule.RECORD: Aim(kinds=("forged record",)),
    Rule.OWN_UPDATE: Aim(4, led=2 * _ROUND),
}
_DEPTH: Final = 8


@dataclass(frozen=True, slots=True)
class SearchRow:
    """One line of the table.

    Args:
        off: rules that nobody looked at.
        lies: kinds of lies that a trace could hold.
        deaths: of workers in a trace.
    """

    off: frozenset[Rule]
    num_workers: int
    lies: int
    deaths: int
    found: Found

    @override
    def __str__(self) -> str:
        """Return it as a line."""
        rules, f = ", ".join(str(r.value) for r in sorted(self.off)) or "none", self.found
        widths = f"{self.num_workers} workers  {self.lies} lies  {self.deaths} deaths"
        counts = f"depth {f.depth:2}  {f.num_states:8} states  {f.seconds:6.1f} s"
        nothing = "nothing, and there is no more" if f.whole else "nothing"
        what = f"{len(f.trace)} steps: {f.broken}" if f.broken else nothing
        return f"{rules:>6} off  {widths}  {counts}  {what}"


def off(rule: Rule) -> frozenset[Rule]:
    """Return what is switched off to see what a rule is for."""
    return frozenset({rule, DOUBLED.get(rule, rule)})


def attack_on(rule: Rule, seconds: float) -> SearchRow:
    """Search for the shortest attack that a rule stops, where it is to be expected."""
    aim, rules = AIMS[rule], off(rule)
    search = searched(aim, rules)
    found = search.run(_DEPTH, seconds, aim.led)
    return SearchRow(rules, aim.num_workers, len(aim.kinds), 0, found)


def searched(aim: Aim, rules: frozenset[Rule]) -> Search:
    """Return a search among an aim's lies, with these rules off."""
    kinds = frozenset(aim.kinds)
    return Search(aim.num_workers, rules, deaths=0, lies=len(kinds), kinds=kinds)


WIDTHS: Final = ((3, 0, 1), (3, 1, 0), (3, 2, 1), (4, 1, 0))
"""Workers, kinds of lies and deaths, of the searches with all rules on."""


def all_on(seconds: float, processes: int) -> Iterator[SearchRow]:
    """Search with all rules on, in several processes, for so long altogether."""
    each_s = seconds * processes / len(WIDTHS)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        yield from pool.map(_all_on, WIDTHS, [each_s] * len(WIDTHS))


def _all_on(width: tuple[int, int, int], seconds: float) -> SearchRow:
    num_workers, lies, deaths = width
    found = Search(num_workers, deaths=deaths, lies=lies).run(50, seconds)
    return SearchRow(SAFE, num_workers, lies, deaths, found)


def trace(rule: Rule, row: SearchRow) -> str:
    """Return a row's attack as tests/scenarios/explorer keeps it: a reason, steps, what breaks."""
    head = f"# Rule {rule.value} refuses {rule.sentence}. Without it:"
    steps = "\n".join((*AIMS[rule].led, *map(str, row.found.trace)))
    return f"{head}\n----\n{steps}\n----\n{row.found.broken}\n"
