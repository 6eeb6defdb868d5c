"""The control process's view of its two children: the core's orders out, its events back."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

from coordinator.ports import Compute, DropSpool, Event, OpenSpool, Seal
from services.coordinator import bulk, commit
from services.coordinator.messages import Collect, Drain, Drained, RestoreVersion, TakeOver
from services.wire.child import Child, spawn

Feed = Callable[[Event], Awaitable[None]]
Watch = Callable[[object], None]

_ENVIRONMENT: Final = {
    "OPENBLAS_NUM_THREADS": "1",  # they have threads of their own; small products gain nothing
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",  # glibc's default lets every thread hoard freed shards and segments
}


async def spawn_children(config: Path) -> tuple[Child, Child]:
    """Start the bulk and the commit process, and return them in this order; or leave none."""
    started: list[Child] = []
    try:
        for child in (bulk, commit):
            arguments = (str(config),)
            started.append(
                await spawn(
                    child.__name__, arguments, receives=child.SENDS, environment=_ENVIRONMENT
                )
            )
    except BaseException:
        await asyncio.gather(*(child.end() for child in started))
        raise
    return started[0], started[1]


class ChildPort(Protocol):
    """`services.wire.child.Child`, the part that is used here."""

    async def send(self, message: object) -> None:
        """Give an order."""

    async def receive(self) -> object:
        """Return the next answer."""


class Processes:
    """See the module docstring.

    Args:
        bulk: the bulk process.
        commit: the commit process.
        feed: gives the core an event; a late or foreign one is dropped there.
        watch: sees every answer, for metrics.
    """

    def __init__(self, bulk: ChildPort, commit: ChildPort, feed: Feed, watch: Watch) -> None:
        self._bulk = bulk
        self._commit = commit
        self._feed = feed
        self._watch = watch
        self._drained = asyncio.Event()

    async def to_bulk(self, effect: OpenSpool | Seal | DropSpool) -> None:
        """Hand an order about the spool over."""
        await self._bulk.send(effect)

    async def to_commit(self, effect: Compute | TakeOver | RestoreVersion | Collect) -> None:
        """Hand an order about versions over."""
        await self._commit.send(effect)

    async def drain(self) -> None:
        """Let bulk take no download any more; return once no upload or download is open."""
        await self._bulk.send(Drain())
        await self._drained.wait()

    async def run(self) -> None:
        """Feed the core what they say, for ever.

        Raises:
            ChildEndedError: one of them ended.
        """
        await asyncio.gather(self._listen(self._bulk), self._listen(self._commit))

    async def _listen(self, child: ChildPort) -> None:
        while True:
            answer = await child.receive()
            self._watch(answer)
            if isinstance(answer, Drained):
                self._drained.set()
            if isinstance(answer, Event):
                await self._feed(answer)
