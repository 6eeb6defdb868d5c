"""What is searched, in which order, and the table that comes of it.

With all rules on nothing may be found, to the depth that the time allows. With one off, the attack
that it stops is: its shortest trace is what the rule is for. A rule that another one doubles is
switched off with that one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from typing_extensions import override

from common.rounds import Rule
from simulator.explorer.search import Found, Search

DOUBLED: Final = {Rule.COHORT: Rule.TERMS}
"""A plan that rule 4 refuses is refused by rule 1 before: no commit may have its threshold."""

UNREACHED: Final = {
    Rule.REPEATED: "no order of messages makes a worker mask twice: rules 2, 7 and 9 come before",
}
"""Rules without an attack here, and why; tests/attacks calls what they guard by itself."""

_WIDENING: Final = ((3, 0), (3, 1), (4, 0), (4, 1), (3, 2), (4, 2))
"""Workers and kinds of lies, the smaller searches first."""
_DEPTH: Final = 14


@dataclass(frozen=True, slots=True)
class Row:
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


def attack_on(rule: Rule, seconds: float) -> Row:
    """Search for the shortest attack that a rule stops: ever more workers and kinds of lies."""
    rules, row = off(rule), None
    for num_workers, lies in _WIDENING:
        search = Search(num_workers, rules, deaths=0, lies=lies)
        row = Row(rules, num_workers, lies, 0, search.run(_DEPTH, seconds))
        if row.found.broken:
            return row
    assert row is not None
    return row


def honest(seconds: float) -> Iterator[Row]:
    """Search with all rules on: each width gets its part of the time."""
    widths = ((3, 0, 1), (3, 1, 0), (3, 2, 1), (4, 1, 0))
    for num_workers, lies, deaths in widths:
        search = Search(num_workers, deaths=deaths, lies=lies)
        found = search.run(50, seconds / len(widths))
        yield Row(frozenset(), num_workers, lies, deaths, found)
