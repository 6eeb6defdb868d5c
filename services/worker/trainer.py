"""The link's side of the trainer process: questions, answers, and the newest progress.

The trainer reports while it trains and answers between two steps. One question is open at a time.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, TypeVar

from common.errors import ConfigError, CrosscloudError, UnexpectedMessageError
from services.versions.same_model import check_model
from services.wire.child import Child, ChildEndedError, spawn
from services.worker.messages import (
    TO_LINK,
    Begin,
    Budget,
    Build,
    Close,
    Closed,
    Failed,
    Merge,
    Merged,
    Progress,
    Quit,
    Ready,
    Release,
    Return,
    Saved,
    SaveTo,
)

log = logging.getLogger(__name__)

_MODULE: Final = "services.worker.trainer_process"

T = TypeVar("T", Closed, Merged, Saved)


class TrainerLink:
    """See the module docstring. Made by `start`.

    Args:
        child: the process.
        ready: its first message.
        progressed: called after each `Progress`.
    """

    def __init__(self, child: Child, ready: Ready, progressed: Callable[[], None]) -> None:
        self.ready = ready
        self.progress: Progress | None = None
        self._child = child
        self._progressed = progressed
        self._answer: asyncio.Future[object] | None = None
        self.reading = asyncio.create_task(self._read())

    async def tell(self, message: Begin | Budget | Release | Quit) -> None:
        """Send what has no answer."""
        await self._child.send(message)

    async def close(self, question: Close) -> Closed:
        """Freeze the pending work."""
        return await self._ask(question, Closed)

    async def merge(self, question: Merge) -> Merged:
        """Move the live parameters onto a new base."""
        return await self._ask(question, Merged)

    async def roll_back(self, question: Return) -> Merged:
        """Start again from a version, without local work."""
        return await self._ask(question, Merged)

    async def save(self, question: SaveTo) -> Saved:
        """Write the learner's whole state."""
        return await self._ask(question, Saved)

    async def end(self) -> None:
        """End the process."""
        self.reading.cancel()
        await self._child.end()

    async def _ask(self, question: Close | Merge | Return | SaveTo, kind: type[T]) -> T:
        if self._answer is not None:
            raise AssertionError("one question at a time")
        self._answer = asyncio.get_running_loop().create_future()
        try:
            await self._child.send(question)
            done, _ = await asyncio.wait(
                (self._answer, self.reading), return_when=asyncio.FIRST_COMPLETED
            )
            if self._answer not in done:
                self.reading.result()  # raises what ended it
            answer = self._answer.result()
        finally:
            self._answer = None
        if not isinstance(answer, kind):
            raise UnexpectedMessageError(
                f"trainer: {type(answer).__name__} came where {kind.__name__} was due"
            )
        return answer

    async def _read(self) -> None:
        while True:
            match await self._child.receive():
                case Progress() as progress:
                    self.progress = progress
                    self._progressed()
                case Failed() as failed:
                    raise _error("the trainer cannot go on", failed)
                case answer:
                    if self._answer is None or self._answer.done():
                        raise UnexpectedMessageError(
                            f"trainer: {type(answer).__name__} came unasked"
                        )
                    self._answer.set_result(answer)


async def start(build: Build, progressed: Callable[[], None]) -> TrainerLink:
    """Start a trainer process; return once its learner is built. Else no process is left.

    Raises:
        ConfigError: the learner cannot be built, or is not the run's; the message says why.
        ChildEndedError: the process ended, or its disk failed.
    """
    child = await spawn(_MODULE, receives=TO_LINK)
    try:
        await child.send(build)
        ready = _ready(await child.receive(), build)
    except BaseException:
        await child.end()
        raise
    for remark in ready.remarks:
        log.info("%s", remark)
    return TrainerLink(child, ready, progressed)


def _ready(first: object, build: Build) -> Ready:
    if isinstance(first, Failed):
        raise _error("the trainer cannot start", first)
    if not isinstance(first, Ready):
        raise UnexpectedMessageError(f"trainer: {type(first).__name__} came where Ready was due")
    check_model(build.genesis, first.schema_hash)
    return first


def _error(what: str, failed: Failed) -> CrosscloudError:
    return (ConfigError if failed.by_settings else ChildEndedError)(f"{what}: {failed.sentence}")
