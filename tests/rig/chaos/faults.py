"""Which faults there are, in what order a seed draws them, and the table of those carried out."""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from common.rounds import Phase

PHASES: Final = tuple(
    p.value for p in (Phase.COLLECTING_OFFERS, Phase.SHARE_KEYS, Phase.COLLECT_MASKED, Phase.UNMASK)
)
PROCESSES: Final = ("control", "bulk", "commit", "valkey", "evaluator", "link", "trainer")

Kinds = Mapping[str, tuple[str, ...]]
"""Target -> the kinds of faults that hit it: the rows of a table."""

ALONE: Final[Kinds] = {
    **dict.fromkeys(PROCESSES, ("kill", "pause")),
    "valkey": ("kill", "pause", "flush"),
    "network": ("cut", "stall"),
}
"""One coordinator, its own Valkey."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One cell of the table.

    Args:
        target: a process, or the "network" of one worker; of two coordinators the one that leads
            ("leader") or waits ("standby").
        kind: "kill" (SIGKILL), "pause" (SIGSTOP, later SIGCONT), "flush" (everything that the
            server holds is deleted), "cut" (connections are ended, and new ones at once), "stall"
            (connections stay and carry nothing), "reset" (as a cut, by TCP reset).
        phase: of the round, as the coordinator's status shows it right before.
    """

    target: str
    kind: str
    phase: str


def cells(kinds: Kinds) -> tuple[Fault, ...]:
    """Return every cell of a table."""
    return tuple(Fault(t, kind, p) for t, ks in kinds.items() for kind in ks for p in PHASES)


def draw(kinds: Kinds, num_faults: int, seed: int) -> list[Fault]:
    """Return so many faults: all cells in random order, again and again."""
    drawing, all_cells = random.Random(seed), cells(kinds)
    drawn: list[Fault] = []
    while len(drawn) < num_faults:
        drawn += drawing.sample(all_cells, len(all_cells))
    return drawn[:num_faults]


def table(kinds: Kinds, carried_out: Counter[Fault]) -> str:
    """Return how many faults of each kind hit each target in each phase, for people."""
    lines = [f"{'':20}" + "".join(f"{phase:>20}" for phase in PHASES)]
    for target, of_target in kinds.items():
        for kind in of_target:
            counts = (carried_out[Fault(target, kind, phase)] for phase in PHASES)
            lines.append(f"{target + ' ' + kind:20}" + "".join(f"{n:20}" for n in counts))
    return "\n".join(lines)
