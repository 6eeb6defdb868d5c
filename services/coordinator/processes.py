"""The control process's view of its two children: orders out, answers back as events."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import assert_never

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
    Seal,
    Sealed,
    Uploaded,
)
from services.child import Child
from services.coordinator.messages import (
    Carried,
    Collect,
    Collected,
    ComputeVersion,
    DropRound,
    OpenRound,
    RoundSealed,
    SealRound,
    UploadAdvanced,
    UploadCompleted,
    VersionComputed,
    VersionFailed,
)

Watch = Callable[[object], None]


class Processes:
    """See the module docstring.

    Args:
        bulk: the bulk process.
        commit: the commit process.
        feed: gives the core an event; a late or foreign one is dropped there.
        watch: sees every answer, for metrics.
    """

    def __init__(
        self, bulk: Child, commit: Child, feed: Callable[[Event], Awaitable[None]], watch: Watch
    ) -> None:
        self._bulk = bulk
        self._commit = commit
        self._feed = feed
        self._watch = watch

    async def to_bulk(self, effect: OpenSpool | Seal | DropSpool) -> None:
        """Hand an order about the spool over."""
        match effect:
            case OpenSpool(round_, members, bits):
                await self._bulk.send(OpenRound(round_, members, bits))
            case Seal(round_):
                await self._bulk.send(SealRound(round_))
            case DropSpool(round_):
                await self._bulk.send(DropRound(round_))
            case _:
                assert_never(effect)

    async def to_commit(self, effect: Compute | Collect) -> None:
        """Hand an order about versions over."""
        match effect:
            case Compute(plan, numbers, survivors):
                await self._commit.send(ComputeVersion(plan, numbers, survivors))
            case Collect():
                await self._commit.send(effect)
            case _:
                assert_never(effect)

    async def run(self) -> None:
        """Turn answers into events for ever.

        Raises:
            ChildEndedError: one of them ended.
        """
        both = [asyncio.create_task(self._listen(c)) for c in (self._bulk, self._commit)]
        try:
            await asyncio.gather(*both)  # not a TaskGroup: what ends one is raised as it is
        finally:
            for task in both:
                task.cancel()

    async def end(self) -> None:
        """End both."""
        await asyncio.gather(self._bulk.end(), self._commit.end())

    async def _listen(self, child: Child) -> None:
        while True:
            answer = await child.receive()
            self._watch(answer)
            if (event := _event_of(answer)) is not None:
                await self._feed(event)


def _event_of(answer: object) -> Event | None:
    match answer:
        case UploadAdvanced(worker):
            return Progressed(worker)
        case UploadCompleted(worker, round_):
            return Uploaded(worker, round_)
        case RoundSealed(round_, survivors):
            return Sealed(round_, survivors)
        case VersionComputed(commit, digest):
            return Computed(RoundId(commit.plan.round), commit, digest)
        case VersionFailed(round_, reason, detail):
            return ComputeFailed(round_, AbortReason(reason), detail)
        case Carried() | Collected():
            return None
    raise AssertionError(f"unexpected answer {type(answer).__name__}")
