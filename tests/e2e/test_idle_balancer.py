"""The real thing: a balancer that forgets what is silent for four minutes, and our own pings."""

import asyncio
import socket
from pathlib import Path

import pytest

from tests.integration.conftest import lay_out
from tests.rig.links.idle_balancer import IdleBalancer
from tests.rig.links.idle_session import open_session, silent

IDLE_S = 240.0
QUIET_S = 270.0  # long enough for a server to find 20 pings too many


@pytest.mark.timeout(600)
async def test_a_session_with_nothing_to_say_for_four_minutes_lives(tmp_path: Path) -> None:
    coordinator = silent(lay_out(tmp_path / "run"))
    try:
        async with open_session(coordinator, "aws", IDLE_S) as session:
            with (
                socket.create_server(("127.0.0.1", 0)) as mute,
                IdleBalancer(f"127.0.0.1:{mute.getsockname()[1]}", IDLE_S) as other,
                socket.create_connection(("127.0.0.1", int(other.address.rpartition(":")[2]))),
            ):
                await asyncio.sleep(QUIET_S)
                assert other.num_forgotten == 1, "the balancer forgets nothing"
            await session.speak()
            await session.fetch(tmp_path / "again")
            for balancer in (session.control, session.bulk):
                assert (balancer.num_connections, balancer.num_forgotten) == (1, 0)
    finally:
        coordinator.stop()
