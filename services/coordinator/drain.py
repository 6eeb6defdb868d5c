"""Ending on purpose, within a stated time: what is under way ends well, nothing new begins.

    no new session, download or cohort -> the open round and its uploads end, if they can in time
    -> sessions are told to dial again -> the process ends

What does not end in time costs nothing but traffic: its round aborts by record when the next
coordinator takes over, and its work is offered again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from coordinator.ports import Ending, Event
from services.coordinator.sessions import Door, Sessions

log = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 0.1


async def drain(
    drain_s: float,
    *,
    door: Door,
    sessions: Sessions,
    feed: Callable[[Event], Awaitable[None]],
    streams_end: Callable[[], Awaitable[None]],
    round_is_open: Callable[[], bool],
) -> None:
    """Return after `drain_s` at the latest; every session has been told to dial again.

    Args:
        feed: gives the core an event; waits with a store that does not answer.
        streams_end: returns once no upload or download is open.
    """
    door.close()

    async def everything_ended() -> None:
        await feed(Ending())
        await streams_end()
        while round_is_open():  # noqa: ASYNC110 - the core has no clock to wait with
            await asyncio.sleep(_LOOK_EVERY_S)

    try:
        await asyncio.wait_for(everything_ended(), drain_s)
    except TimeoutError:
        log.warning("after %g s a round or a transfer is still open: it ends now", drain_s)
    sessions.reconnect()
