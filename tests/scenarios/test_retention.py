"""What a coordinator's control process holds does not grow with the rounds behind it.

A real leader with its sessions, uploads and versions, in virtual time; what is counted is every
object that can be reached from it, but for its surroundings. A benchmark does the same with real
processes, to the byte (`python -m benchmarks.soak`): this test finds the line that is to blame.
"""

import asyncio
import gc
import types
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from typing_extensions import override

from coordinator import head
from coordinator.ledger import Ledger
from coordinator.offers import Offers
from services.coordinator.kept.spool import Spool
from services.coordinator.sessions.streams import LogTail
from simulator.federation import SimulatedFederation

SEED = 4
FIRST, LAST, LAST_LONG = 12, 24, 42
"""Versions: by the first one every snapshot was replaced; LAST_LONG is the last with --long."""
MOMENTS = 8  # between two rounds there is least
SURROUNDINGS = ("simulator", "asyncio", "_asyncio", "logging")
ENOUGH = 300  # objects
NOT_OURS = (type, types.ModuleType, types.FrameType, types.CodeType, types.BuiltinFunctionType)


def held(roots: Iterable[object]) -> Counter[str]:
    """Count what can be reached from `roots` by the name of its type."""
    waiting, seen = list(roots), dict[int, object]()
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, NOT_OURS):
            continue
        if any(kind.__module__.startswith(SURROUNDINGS) for kind in type(found).__mro__):
            continue
        seen[id(found)] = found
        if isinstance(found, types.FunctionType):  # not all that its module knows
            waiting += [*(found.__closure__ or ()), *(found.__defaults__ or ())]
        else:
            waiting += gc.get_referents(found)
    return Counter(type(o).__name__ for o in seen.values())


class LongRun(SimulatedFederation):
    """A federation in which nothing goes wrong."""

    def __init__(self, folder: Path, last: int) -> None:
        super().__init__(SEED, folder, ())
        self.last = last
        self.counted: list[Counter[str]] = []

    @override
    async def _play(self) -> None:
        tasks = self.supervisor.start()
        try:
            for version in (FIRST, self.last):
                reached = partial(self._reached, version)
                await self._until(reached, 1000.0, "it stands still")
                self.counted.append(await self._least())
        finally:
            await self._end(tasks)

    def _reached(self, version: int) -> bool:
        return self.world.version() >= version

    async def _least(self) -> Counter[str]:
        moments = []
        for _ in range(MOMENTS):
            await asyncio.sleep(0.5)
            gc.collect()
            assert self.world.serving is not None
            moments.append(held(vars(self.world.serving).values()))
        return min(moments, key=lambda counted: counted.total())


@pytest.fixture
def last(long: bool) -> int:
    return LAST_LONG if long else LAST


def grown(folder: Path, last: int) -> dict[str, int]:
    """Return what there is more of, by type, if it is one in two rounds or more."""
    run = LongRun(folder, last)
    with mock.patch.object(head, "NUM_KNOWN_DIGESTS", FIRST):  # all that will ever be are there
        run.run()
    begun, ended = run.counted
    assert begun.total() > ENOUGH, "it looks in the wrong place"
    return {kind: n for kind, n in (ended - begun).items() if n >= (last - FIRST) / 2}


def test_nothing_stays_of_a_round(tmp_path: Path, last: int) -> None:
    assert grown(tmp_path, last) == {}


@pytest.mark.long("the test above counts the same run; this one shows that it can fail")
def test_one_object_that_stays_of_each_round_is_found_wherever_it_is(
    tmp_path: Path, last: int
) -> None:
    places = ((Ledger, "commit"), (LogTail, "grow"), (Spool, "drop"), (Offers, "take"))
    with ExitStack() as patches:
        for owner, method in places:
            patches.enter_context(remembering(owner, method))
        found = grown(tmp_path, last)
    assert found.keys() == {f"LeftIn{owner.__name__}" for owner, _ in places}
    assert min(found.values()) >= last - FIRST


def remembering(owner: type[Any], method: str) -> AbstractContextManager[Any]:
    """Patch a method so that each call leaves an object behind."""
    right, left = getattr(owner, method), type(f"LeftIn{owner.__name__}", (), {})

    def remembers(self: Any, *args: Any, **more: Any) -> Any:
        vars(self).setdefault("remembered", []).append(left())
        return right(self, *args, **more)

    return mock.patch.object(owner, method, remembers)
