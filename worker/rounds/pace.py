"""How fast a worker goes: as the coordinator says, within bounds that keep a sum a sum of many.

Steps per contribution decide how much of a sum is one worker's. So a worker never takes fewer than
`min_local_steps` nor more than `local_steps` of them, whatever it is told. Whether it trains at all
is the coordinator's to say: what a worker that pauses has, it keeps, and what unequal work is left
is bounded by `max_share` (rule 6).

That bounds weights. A coordinator can also hold one worker back while the others go on, until their
updates cancel each other: the next sum with it would be its update, whatever the weights. A worker
sees that it is left out, by the commits that it follows; then it has no more work ready than the
least that any member may have, so that in the sum which takes it back it is at most one part among
equals. What it had gathered before is more, and is given up when a round would take it (rule 15).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from common.documents import Algorithm
from common.progress import MAX_ROUNDS_AHEAD

LEFT_OUT: Final = 2
"""So many turns without its own work, and a worker is left out."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a worker goes by.

    Args:
        local_steps: H_i, before it offers.
        paused: it takes no step.
        rounds_ahead: a trainer that holds so many times H_i uncommitted steps waits.
    """

    local_steps: int
    paused: bool = False
    rounds_ahead: int = MAX_ROUNDS_AHEAD


@dataclass(frozen=True, slots=True)
class Turns:
    """How a federation that is larger than a cohort takes turns.

    Args:
        num_versions: that a turn may last: until everybody was in one.
        full: members of a full cohort.
    """

    num_versions: int = 1
    full: int = 0

    @classmethod
    def of(cls, organisations: Sequence[str], own: str, algorithm: Algorithm) -> "Turns":
        """Return the turns of workers of these organisations; a cohort has one of each at most."""
        full = min(algorithm.max_cohort, len(set(organisations)))
        if full == 0:
            return cls()
        return cls(max(-(-len(organisations) // full), organisations.count(own)), full)


@dataclass(frozen=True, slots=True)
class Missed:
    """Versions that were made without a worker, since one with its own work.

    Args:
        versions: all of them.
        with_room: of those, by cohorts that were not full.
    """

    versions: int = 0
    with_room: int = 0


class OwnPace:
    """See the module docstring; in tier tls, where a sum hides nothing, nobody is left out."""

    def __init__(self, algorithm: Algorithm, turns: Turns) -> None:
        self._most = algorithm.local_steps
        self._fewest = min(algorithm.min_local_steps, algorithm.local_steps)
        self._masked = algorithm.masked
        self._turns = turns
        self._told, self._paused = self._most, False
        self._has_complained = False
        self.missed = Missed()

    @property
    def bounds(self) -> Bounds:
        """What it goes by now."""
        if self.left_out:
            return Bounds(self._fewest, self._paused, rounds_ahead=1)
        return Bounds(self._told, self._paused)

    @property
    def left_out(self) -> bool:
        """Whether the run goes on without its work, though it had room, or turns have passed."""
        patience = LEFT_OUT * self._turns.num_versions
        waited = self.missed.versions >= patience or self.missed.with_room >= LEFT_OUT
        return self._masked and waited

    @property
    def most_steps(self) -> int | None:
        """How many steps its work in a sum may have now; None = as many as there are."""
        return self._fewest if self.left_out else None

    def begin(self, missed: Missed) -> None:
        """Begin after such versions; a newcomer has missed all that there were."""
        self.missed = missed

    def made(self, num_members: int, *, own: bool) -> None:
        """A version was made by a round of so many members, with its own work or without."""
        had_room = num_members < self._turns.full
        before = self.missed
        self.missed = Missed() if own else Missed(before.versions + 1, before.with_room + had_room)

    def told(self, local_steps: int, *, paused: bool) -> str:
        """Go as fast as told, within the bounds; return what is wrong with it, "" if nothing is.

        It complains once: a coordinator says its pace with every heartbeat.
        """
        self._told = max(self._fewest, min(local_steps, self._most))
        self._paused = paused
        if self._told == local_steps or self._has_complained:
            return ""
        self._has_complained = True
        return (
            f"told to take {local_steps} local steps per contribution; the genesis allows "
            f"{self._fewest} to {self._most}, so it takes {self._told}: "
            "ask the coordinator's operator why"
        )
