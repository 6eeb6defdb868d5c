"""The real thing: a balancer that forgets what is silent for four minutes, and our own pings."""

import asyncio
import socket
from pathlib import Path

import pytest

from tests.idle_session import open_session, silent
from tests.integration.conftest import lay_out

IDLE_S = 240.0
QUIET_S = 270.0  # long enough for a server to find 20 pings too many


@pytest.mark.timeout(600)
async def test_a_session_with_nothing_to_say_for_four_minutes_lives(tmp_path: Path) -> None:
    coordinator = silent(lay_out(tmp_path / "run"))
    try:
        async with open_session(coordinator, "aws", IDLE_S) as session:
            host, _, port = session.control.address.rpartition(":")
            with socket.create_connection((host, int(port))):  # of somebody who does not ping
                await asyncio.sleep(QUIET_S)
                assert session.control.num_forgotten == 1, "the balancer forgets nothing"
            await session.speak()
            await session.fetch(tmp_path / "again")
            assert session.control.num_connections == 2
            assert (session.bulk.num_connections, session.bulk.num_forgotten) == (1, 0)
    finally:
        coordinator.stop()
