"""Which faults there are, in what order a seed draws them, and the table of those carried out."""

import random
from collections import Counter
from dataclasses import dataclass
from typing import Final

from coordinator.round import Phase

PHASES: Final = tuple(
    p.value for p in (Phase.COLLECTING_OFFERS, Phase.SHARE_KEYS, Phase.COLLECT_MASKED, Phase.UNMASK)
)
PROCESSES: Final = ("control", "bulk", "commit", "valkey", "evaluator", "link", "trainer")
KINDS: Final = {
    **dict.fromkeys(PROCESSES, ("kill", "pause")),
    "valkey": ("kill", "pause", "flush"),
    "network": ("cut", "stall"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One cell of the table.

    Args:
        target: a process, or the "network" of one worker.
        kind: "kill" (SIGKILL), "pause" (SIGSTOP, later SIGCONT), "flush" (everything that the
            server holds is deleted), "cut" (connections are ended, and new ones at once), "stall"
            (connections stay and carry nothing).
        phase: of the round, as the coordinator's status shows it right before.
    """

    target: str
    kind: str
    phase: str


CELLS: Final = tuple(
    Fault(target, kind, phase)
    for target, kinds in KINDS.items()
    for kind in kinds
    for phase in PHASES
)


def draw(num_faults: int, seed: int) -> list[Fault]:
    """Return so many faults: all cells in random order, again and again."""
    drawing, drawn = random.Random(seed), []
    while len(drawn) < num_faults:
        drawn += drawing.sample(CELLS, len(CELLS))
    return drawn[:num_faults]


def table(carried_out: Counter[Fault]) -> str:
    """Return how many faults of each kind hit each target in each phase, for people."""
    lines = [f"{'':20}" + "".join(f"{phase:>20}" for phase in PHASES)]
    for target, kinds in KINDS.items():
        for kind in kinds:
            counts = (carried_out[Fault(target, kind, phase)] for phase in PHASES)
            lines.append(f"{target + ' ' + kind:20}" + "".join(f"{n:20}" for n in counts))
    return "\n".join(lines)
