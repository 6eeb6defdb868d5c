"""The control process's view of its two children: orders out, answers back as events."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol, assert_never

from common.ids import RoundId
from coordinator.ports import (
    AbortReason,
    Compute,
    Computed,
    ComputeFailed,
    DropSpool,
    Event,
    OpenSpool,
    Progressed,
    Restored,
    RestoreFailed,
    Seal,
    Sealed,
    SpoolOpened,
    Uploaded,
)
from services.coordinator import bulk, commit
from services.coordinator.messages import (
    Carried,
    Collect,
    Collected,
    ComputeVersion,
    Drain,
    Drained,
    DropRound,
    OpenRound,
    RestoreRefused,
    RestoreVersion,
    RoundOpened,
    RoundSealed,
    SealRound,
    TakeOver,
    TookOver,
    UploadAdvanced,
    UploadCompleted,
    VersionComputed,
    VersionFailed,
    VersionRestored,
)
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
        match effect:
            case OpenSpool(round_, members, bits, fragment):
                await self._bulk.send(OpenRound(round_, members, bits, fragment))
            case Seal(round_):
                await self._bulk.send(SealRound(round_))
            case DropSpool(round_):
                await self._bulk.send(DropRound(round_))
            case _:
                assert_never(effect)

    async def to_commit(self, effect: Compute | TakeOver | RestoreVersion | Collect) -> None:
        """Hand an order about versions over."""
        match effect:
            case Compute(plan, numbers, survivors, secrets, signatures):
                computed = ComputeVersion(plan, numbers, survivors, secrets, signatures)
                await self._commit.send(computed)
            case TakeOver() | RestoreVersion() | Collect():
                await self._commit.send(effect)
            case _:
                assert_never(effect)

    async def drain(self) -> None:
        """Let bulk take no download any more; return once no upload or download is open."""
        await self._bulk.send(Drain())
        await self._drained.wait()

    async def run(self) -> None:
        """Turn answers into events for ever.

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
            if (event := _event_of(answer)) is not None:
                await self._feed(event)


def _event_of(answer: object) -> Event | None:
    match answer:
        case RoundOpened(round_):
            return SpoolOpened(round_)
        case UploadAdvanced(worker):
            return Progressed(worker)
        case UploadCompleted(worker, round_):
            return Uploaded(worker, round_)
        case RoundSealed(round_, survivors):
            return Sealed(round_, survivors)
        case VersionComputed(commit, digest):
            return Computed(RoundId(commit.plan.round), commit, digest)
        case VersionFailed(round_, reason, detail, blamed):
            return ComputeFailed(round_, AbortReason(reason), detail, blamed)
        case VersionRestored(version, digest, commits):
            return Restored(version, digest, commits)
        case RestoreRefused(version, detail):
            return RestoreFailed(version, detail)
        case Carried() | TookOver() | Collected() | Drained():
            return None
    raise AssertionError(f"unexpected answer {type(answer).__name__}")
