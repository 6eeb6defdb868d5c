"""Hands on what a worker's link process hears, one thing at a time and in order: see `agent.py`."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from common.errors import UnknownRoundError
from services.observe.metrics import WorkerMetrics
from services.process.exit_status import Exit
from services.worker.agent import Agent
from services.worker.link import EndedError, Message

log = logging.getLogger(__name__)

TICK_S: Final = 1.0

Work = Callable[[], Awaitable[None]]


class Inbox:
    """See the module docstring. `agent` is set before `run`."""

    agent: Agent

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._waiting: asyncio.Queue[Work] = asyncio.Queue()

    async def run(self) -> None:
        """Handle one thing after the other, for ever.

        Raises:
            EndedError: the coordinator ended this worker's part.
        """
        while True:
            work = await self._waiting.get()
            await work()
            self.agent.consider_offering()

    async def tick(self, ticked: Callable[[], None]) -> None:
        """Let the agent know that time passes, for ever."""
        while True:
            await asyncio.sleep(TICK_S)
            self._waiting.put_nowait(self.agent.ticked)
            ticked()

    def received(self, message: Message | None) -> None:
        """The control stream brought a message; None = it broke."""
        if message is None:
            self._metrics.connected(is_open=False)
            self._waiting.put_nowait(self.agent.disconnected)
            return
        self._waiting.put_nowait(lambda: self._handle(message))

    def progressed(self) -> None:
        """The trainer made progress: `run` considers offering after each piece of work."""
        self._waiting.put_nowait(_nothing)

    def finish(self) -> None:
        """The process is to end: have the agent save, after what waits already."""
        self._waiting.put_nowait(self.agent.finish)

    async def _handle(self, message: Message) -> None:
        agent = self.agent
        match message.WhichOneof("message"):
            case "welcome":
                self._metrics.connected(is_open=True)
                await agent.welcomed(message.welcome)
            case "pace":
                await agent.paced(message.pace)
            case "plan":
                await agent.planned(message.plan.plan)
            case "members":
                await agent.named(message.members)
            case "survivors":
                await agent.unmasking.survived(message.survivors)
            case "signatures":
                await agent.unmasking.signed(message.signatures)
            case "end":
                await agent.unmasking.ended(message.end)
            case "attested":
                await agent.attested(message.attested)
            case "outcome":
                await agent.recorded(message.outcome.record)
            case "drain":
                raise EndedError(
                    f"the coordinator says: {message.drain.reason}",
                    Exit.OVER if message.drain.finished else Exit.FAILED,
                )
            case "replaced":
                raise EndedError("another process joined in this name: this one ends", Exit.FAILED)
            case "rejected":
                error, said = message.rejected.error, message.rejected.sentence
                if error == UnknownRoundError.__name__:
                    log.info("late for the coordinator: %s", said)
                else:
                    log.warning("rejected (%s): %s", error, said)
            case kind:
                log.warning("ignored: message %s is newer than this program", kind)


async def _nothing() -> None:
    pass
