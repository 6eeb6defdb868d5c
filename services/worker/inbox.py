"""Hands on what a worker's link process hears, one thing at a time, in order; see `driver.py`."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from common.errors import MalformedDocumentError, UnknownRoundError
from protos.v1 import session_pb2
from services.observe.metrics.worker import WorkerMetrics
from services.process.exit_status import Exit
from services.worker.convert import event_of
from services.worker.driver import Driver
from services.worker.link import EndedError, Message
from worker.rounds.ports import Disconnected, Event, Stopped, Ticked

log = logging.getLogger(__name__)

TICK_S: Final = 1.0

_OF_THE_LOG: Final = ("welcome", "outcome")
"""What cannot be read of these stops a worker: it would miss a record."""


class Inbox:
    """See the module docstring."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._waiting: asyncio.Queue[Event | Message | None] = asyncio.Queue()

    async def run(self, driver: Driver) -> None:
        """Handle one thing after the other, for ever.

        Raises:
            EndedError: the coordinator ended this worker's part.
            CrosscloudError: the worker cannot go on.
        """
        while True:
            if (event := await self.next()) is not None:
                await driver.feed(event)
            await driver.offer()

    async def next(self) -> Event | None:
        """Return what is next; None = nothing but that offering is to be considered.

        Raises:
            EndedError: the coordinator ended this worker's part.
            MalformedDocumentError: a part of the log cannot be read.
        """
        what = await self._waiting.get()
        return self.event(what) if isinstance(what, Message) else what

    async def tick(self, ticked: Callable[[], None]) -> None:
        """Let the worker know that time passes, for ever."""
        while True:
            await asyncio.sleep(TICK_S)
            self.put(Ticked())
            ticked()

    def put(self, event: Event | None) -> None:
        """Have an event wait for its turn; None = to consider offering, and nothing else."""
        self._waiting.put_nowait(event)

    def received(self, message: Message | None) -> None:
        """The control stream brought a message; None = it broke."""
        if message is None:
            self._metrics.connected(is_open=False)
            self.put(Disconnected())
        else:
            self._waiting.put_nowait(message)

    def progressed(self) -> None:
        """The trainer made progress: offering is considered after each event."""
        self.put(None)

    def stop(self) -> None:
        """The process is to end: have the worker save, after what waits already."""
        self.put(Stopped())

    def event(self, message: Message) -> Event | None:
        """Return what it says; None where nobody has to decide about it. Raises as `next`."""
        kind = message.WhichOneof("message")
        match kind:
            case "welcome":
                self._metrics.connected(is_open=True)
            case "drain":
                raise EndedError(
                    f"the coordinator says: {message.drain.reason}",
                    Exit.OVER if message.drain.finished else Exit.FAILED,
                )
            case "replaced":
                raise EndedError("another process joined in this name: this one ends", Exit.FAILED)
            case "rejected":
                _tell_rejection(message.rejected)
                return None
        try:
            event = event_of(message)
        except MalformedDocumentError as e:
            if kind in _OF_THE_LOG:
                raise
            log.warning("no such %s: %s", kind, e)
            return None
        if event is None:
            log.warning("ignored: message %s is newer than this program", kind)
        return event


def _tell_rejection(rejected: session_pb2.Rejected) -> None:
    if rejected.error == UnknownRoundError.__name__:
        log.info("late for the coordinator: %s", rejected.sentence)
    else:
        log.warning("rejected (%s): %s", rejected.error, rejected.sentence)
