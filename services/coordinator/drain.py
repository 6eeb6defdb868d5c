"""Ends a coordinator on purpose, in a stated time: what is under way ends well, nothing begins.

    no new session, download or cohort -> the open round and its uploads end, if they can in time
    -> sessions are told to dial again -> the process ends

What does not end in time costs nothing but traffic: its round aborts by record when the next
coordinator takes over, and its work is offered again.

After `drain_s` come, each with a limit of its own: the streams of the control port (1 s); the
children, which are killed after 10 s, beside the lease's thread (5 s); the lease itself (5 s where
the store does not answer); an embedded Valkey. Whatever holds the process up beyond that, a disk
that hangs or a cluster whose nodes are asked one by one, ends with it after `END_S`
(`services/process/ending.py`). Nothing is lost then: the log holds every outcome, and a lease that
was not let go runs out.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from coordinator.ports import Draining, Event
from services.coordinator.sessions.streams import Sessions, StreamQuota

log = logging.getLogger(__name__)

END_S: Final = 20.0
"""How long the process may take to end when it has drained."""

_LOOK_EVERY_S: Final = 0.1


async def drain(
    drain_s: float,
    *,
    quota: StreamQuota,
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
    quota.close()

    async def everything_ended() -> None:
        await feed(Draining())
        await streams_end()
        while round_is_open():  # noqa: ASYNC110 - the core has no clock to wait with
            await asyncio.sleep(_LOOK_EVERY_S)

    try:
        await asyncio.wait_for(everything_ended(), drain_s)
    except TimeoutError:
        log.warning("after %g s a round or a transfer is still open: it ends now", drain_s)
    sessions.reconnect()
