"""Handles SIGTERM, Ctrl-C, SIGHUP in an event loop: one future, and what it cuts short."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

from common.errors import ToldToEndError
from services.process import ending

log = logging.getLogger(__name__)

T = TypeVar("T")


async def told_to_end(within_s: float) -> None:
    """Return at the first signal from now on; by then the process has so many seconds."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    ending.within(within_s)

    def heard(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(event.set)

    ending.handle(heard)
    try:
        await event.wait()
    finally:
        ending.finish()


async def unless(told: "asyncio.Future[None]", work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns.

    Args:
        told: of `told_to_end`.
        work: what undoes itself when it is cancelled.

    Raises:
        ToldToEndError: `told` came first; `work` has undone itself.
    """
    if told.done():
        work.close()
        raise ToldToEndError
    working = asyncio.create_task(work)
    try:
        await asyncio.wait((working, told), return_when=asyncio.FIRST_COMPLETED)
    finally:
        if cut := not working.done():
            working.cancel()
            await asyncio.wait((working,))
    if cut and working.cancelled():
        raise ToldToEndError
    if cut and (failure := working.exception()) is not None:
        log.warning("while it was told to end: %s", failure)
        raise ToldToEndError from failure
    return working.result()


async def to_its_end(
    work: Callable[..., T],
    *args: object,
    give_up: Callable[[], None] = lambda: None,
    undo: Callable[[T], None] = lambda _: None,
) -> T:
    """Do `work` in a thread. Who is cancelled here leaves none, nor what it has made.

    Args:
        give_up: lets `work` return early.
        undo: of its result, where nobody gets that.
    """
    working = asyncio.create_task(asyncio.to_thread(work, *args))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        give_up()
        await asyncio.wait((working,))
        if working.exception() is None:
            undo(working.result())
        raise
