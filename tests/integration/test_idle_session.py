"""A real coordinator behind a balancer that forgets what is idle: kept by pings, or back again."""

import asyncio
from pathlib import Path

from services.channels import FASTEST_PING_S, channel_options
from tests.idle_session import open_session, silent
from tests.integration.conftest import Make

PATIENCE_S = 60.0
IDLE_S = 2.0
NOTICED_S = FASTEST_PING_S + 1.0  # our ping and its time-out: as often as a real server lets us


async def test_a_session_with_nothing_to_say_lives_by_the_coordinators_pings(
    make_coordinator: Make, tmp_path: Path
) -> None:
    coordinator = silent(make_coordinator(start=False), keepalive_s=1.0)
    async with asyncio.timeout(PATIENCE_S), open_session(coordinator, "aws", IDLE_S) as session:
        await asyncio.sleep(4 * IDLE_S)
        await session.speak()
        await session.fetch(tmp_path / "again")
        for balancer in (session.control, session.bulk):
            assert (balancer.num_connections, balancer.num_forgotten) == (1, 0)


async def test_a_session_that_was_forgotten_comes_back_by_itself(
    make_coordinator: Make, tmp_path: Path
) -> None:
    coordinator = silent(make_coordinator(start=False), keepalive_s=200.0)
    options = channel_options(ping_s=FASTEST_PING_S, timeout_s=NOTICED_S - FASTEST_PING_S)

    async def play(name: str, resets: bool) -> None:
        async with open_session(
            coordinator, name, IDLE_S, resets=resets, options=options
        ) as session:
            await session.receive("")
            assert session.control.num_forgotten == 1
            await session.receive("welcome")
            await session.speak()
            await session.fetch(tmp_path / name)
            assert session.control.num_connections == 2
            assert session.bulk.num_connections >= 2

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(play("aws", resets=True), play("azure", resets=False))
