"""Breadth first over everything that a coordinator can do, to a depth.

A state is one state of each worker, a step one move, to one of them or to all. What a worker's
machine does is found out once for each of its states and each move; what is searched is how these
fit together. Moves that change nothing (what is refused, late, or known) lead nowhere new.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from typing_extensions import override

from common import canonical
from common.ids import Digest, WorkerId
from common.rounds import Rule
from simulator.explorer.facts import Fact
from simulator.explorer.given import Given, Move
from simulator.explorer.knowledge import Knowledge, Sum
from simulator.explorer.moves import first_record, moves
from simulator.explorer.seat import Seat
from simulator.explorer.storing import public_of, shape_of, state_of, stored, taken_up
from simulator.explorer.world import WORKERS, most_share
from worker.rounds.ports import Welcomed

State = tuple[int, ...]
"""A number for each worker's state; then how many have died, and which kinds of lies were told."""


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One move of a trace.

    Args:
        worker: to whom; "all" = to each to whom it can be done.
    """

    worker: str
    move: str

    @override
    def __str__(self) -> str:
        """Return it as a line."""
        return f"{self.worker} <- {self.move}"


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Args:
        depth: that was searched whole, or at which a promise was broken.
        num_states: that were seen.
        trace: the shortest way to what is broken; empty = nothing is.
        broken: which promise.
        whole: every state to be reached was seen.
    """

    depth: int
    num_states: int
    seconds: float
    trace: tuple[TraceStep, ...] = ()
    broken: str = ""
    whole: bool = False


@dataclass
class _Kept:
    """One state of one worker."""

    content: bytes
    seat: Seat  # to be looked at, never changed
    public: int


@dataclass
class Search:
    """See the module docstring.

    Args:
        num_workers: at most all of `WORKERS`.
        unsafe: rules that no worker looks at.
        deaths: how many times a worker may die.
        lies: how many kinds of lies a trace may hold, each as often as it likes; that something
            is told to one worker and not to all at once is one, for each thing that can be told.
        kinds: only these; None = any.
    """

    num_workers: int = 3
    unsafe: frozenset[Rule] = frozenset()
    deaths: int = 1
    lies: int = 1
    kinds: frozenset[str] | None = None
    _kept: list[_Kept] = field(default_factory=list)
    _index: dict[Digest, int] = field(default_factory=dict)
    _stored: dict[bytes, int] = field(default_factory=dict)
    _publics: dict[str, int] = field(default_factory=dict)
    _done: dict[tuple[int, Digest, bool], list[tuple[int, str]]] = field(default_factory=dict)
    _known: dict[tuple[int, ...], tuple[Given, list[Sum], str]] = field(default_factory=dict)
    _moves: dict[tuple[int, ...], list[Move]] = field(default_factory=dict)
    _lies: dict[str, int] = field(default_factory=dict)
    _tellings: dict[int, Digest] = field(default_factory=dict)

    @property
    def names(self) -> tuple[WorkerId, ...]:
        """The workers."""
        return WORKERS[: self.num_workers]

    def begin(self) -> State:
        """Return the state in which everybody stands on version 0."""
        numbers = []
        for name in self.names:
            seat = Seat.of(name, self.unsafe)
            seat.hear(Welcomed(first_record(), 1))
            numbers.append(self._keep(seat))
        return (*numbers, 0, 0)

    def run(self, depth: int, seconds: float, led: Sequence[str] = ()) -> Found:
        """Search until a promise is broken, that depth is reached, or the time is up.

        Args:
            led: steps that are taken first; the depth counts from there.
        """
        began_s, start = time.monotonic(), self._led(led)
        cameby: dict[State, tuple[State, TraceStep] | None] = {start: None}
        front = [start]
        for reached in range(1, depth + 1):
            after: list[State] = []
            for state in front:
                for step, found in self._next(state):
                    if found in cameby:
                        continue
                    cameby[found] = state, step
                    after.append(found)
                    if broken := self._look(found)[2]:
                        spent_s = time.monotonic() - began_s
                        trace = _trace(cameby, found)
                        return Found(reached, len(cameby), spent_s, trace, broken)
                if time.monotonic() - began_s > seconds:
                    return Found(reached - 1, len(cameby), time.monotonic() - began_s)
            if not after:
                spent_s = time.monotonic() - began_s
                return Found(reached, len(cameby), spent_s, whole=True)
            front = after
        return Found(depth, len(cameby), time.monotonic() - began_s)

    def follow(self, steps: Iterable[str], *, strictly: bool = True) -> str:
        """Take these steps from the beginning; return which promise is broken, "" if none is.

        Args:
            strictly: each of them can be taken; else one that cannot is left out.

        Raises:
            LookupError: there is no such step.
        """
        return self._look(self._led(steps, strictly=strictly))[2]

    def _led(self, steps: Iterable[str], *, strictly: bool = True) -> State:
        state = self.begin()
        for told in steps:
            found = next((after for step, after in self._next(state) if str(step) == told), None)
            if found is None and strictly:
                raise LookupError(f"no worker can be led so: {told}")
            state = found or state
        return state

    # Steps ----------------------------------------------------------------------------------------

    def _next(self, state: State) -> Iterator[tuple[TraceStep, State]]:
        *numbers, deaths, told = state
        by_name: dict[str, dict[int, Move]] = {}
        for i in range(self.num_workers):
            for move in self._moves_of(state, i):
                by_name.setdefault(move.name, {})[i] = move
        for name, by_worker in by_name.items():
            lies = told
            for move in by_worker.values():
                lies |= self._kinds(move.lie)
            if not self._allows(lies):
                continue
            if len(by_worker) > 1:  # as a true coordinator does
                after = list(numbers)
                for i, move in by_worker.items():
                    after[i] = self._ways(numbers[i], move, can_die=False)[0][0]
                if after != numbers:
                    yield TraceStep("all", name), (*after, deaths, lies)
                if not any(move.lie for move in by_worker.values()):
                    lies |= self._kinds(f"{name.split(':')[0].split()[0]} to one")
                if not self._allows(lies):
                    continue
            for i, move in by_worker.items():
                for number, how in self._ways(numbers[i], move, can_die=deaths < self.deaths):
                    if number != numbers[i]:
                        others = (*numbers[:i], number, *numbers[i + 1 :])
                        step = TraceStep(self.names[i], name + how)
                        yield step, (*others, deaths + bool(how), lies)

    def _allows(self, lies: int) -> bool:
        if lies.bit_count() > self.lies:
            return False
        if self.kinds is None or lies == 0:
            return True
        told = {kind for kind, number in self._lies.items() if lies >> number & 1}
        return told <= self.kinds

    def _kinds(self, lie: str) -> int:
        """Return a bit for each kind."""
        kinds = lie.split("+") if lie else []
        return sum(1 << self._lies.setdefault(kind, len(self._lies)) for kind in kinds)

    def _moves_of(self, state: State, i: int) -> list[Move]:
        publics = tuple(self._kept[number].public for number in state[:-2])
        key = (i, state[i], *publics)
        if (found := self._moves.get(key)) is None:
            given, sums, _ = self._look(state)
            found = self._moves[key] = list(moves(self._kept[state[i]].seat, given, sums))
        return found

    def _ways(self, number: int, move: Move, *, can_die: bool) -> list[tuple[int, str]]:
        """Return what a move makes of a worker's state: as it is, and where it dies on the way."""
        told = self._told(move)
        key = (number, told, True)
        if (lives := self._done.get(key)) is None:
            lives = self._done[key] = [(self._after(number, move, None), "")]
        if not can_die:
            return lives
        key = (number, told, False)
        if (dies := self._done.get(key)) is None:
            found: dict[int, str] = {}
            for at in range(100):
                after = self._after(number, move, at)
                if after == lives[0][0]:
                    break  # it has done all that it does
                found.setdefault(after, f"; it dies before effect {at + 1}")
            dies = self._done[key] = list(found.items())
        return [*lives, *dies]

    def _told(self, move: Move) -> Digest:
        """Return what tells a move from others of its name."""
        if (found := self._tellings.get(id(move))) is None:
            said = repr((move.name, shape_of(move.events), move.served))
            found = self._tellings[id(move)] = canonical.digest_of(said.encode())
        return found  # moves are kept in `_moves`, so no two have one id

    def _after(self, number: int, move: Move, dies_at: int | None) -> int:
        seat = taken_up(self._kept[number].content)
        seat.now_s += move.silence_s
        seat.die_at(dies_at)
        if move.trains:
            seat.train()
        else:
            seat.hear(*move.events, served=move.served, slowly=move.slowly)
        seat.die_at(None)
        return self._keep(seat)

    def _keep(self, seat: Seat) -> int:
        content = stored(seat)
        if (number := self._stored.get(content)) is not None:
            return number
        state = state_of(seat)
        if (number := self._index.get(state)) is None:
            number = self._index[state] = len(self._kept)
            public = self._publics.setdefault(public_of(seat), len(self._publics))
            self._kept.append(_Kept(content, seat, public))
        self._stored[content] = number
        return number

    # What can be made of them ---------------------------------------------------------------------

    def _look(self, state: State) -> tuple[Given, list[Sum], str]:
        key = tuple(self._kept[number].public for number in state[:-2])
        if (found := self._known.get(key)) is None:
            seats = {n: self._kept[i].seat for n, i in zip(self.names, state, strict=False)}
            facts: Mapping[WorkerId, Mapping[str, Fact]] = {n: s.facts for n, s in seats.items()}
            knowledge = Knowledge(facts, most_share(is_lenient=Rule.TERMS in self.unsafe))
            sums = knowledge.sums()
            found = self._known[key] = Given.of(seats), sums, knowledge.broken(sums)
        return found


def _trace(
    cameby: Mapping[State, tuple[State, TraceStep] | None], state: State
) -> tuple[TraceStep, ...]:
    steps: list[TraceStep] = []
    while (before := cameby[state]) is not None:
        state, step = before
        steps.append(step)
    return tuple(reversed(steps))
