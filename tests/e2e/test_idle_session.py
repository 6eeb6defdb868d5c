"""A real coordinator behind a balancer that forgets what is idle: kept by pings, or back again.

Not in `make test`: they wait, most of the time.
"""

import asyncio
from pathlib import Path

import pytest

from commands.demo.layout import OPERATOR
from services.config.settings import load_operator
from services.trust.identity import Role
from services.wire.channels import FASTEST_PING_S, channel_options
from services.wire.credentials import channel_credentials
from services.wire.operator_link import NotRecordedError, OperatorLink
from tests.integration.conftest import Make
from tests.integration.test_flow import in_round
from tests.rig.links.idle_balancer import IdleBalancer
from tests.rig.links.idle_session import open_session, silent

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


async def test_a_session_that_was_forgotten_comes_back_by_itself_and_a_command_says_so(
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

    def command() -> None:
        settings = load_operator(coordinator.layout.config(OPERATOR), environ={})
        credentials = channel_credentials(settings.tls, settings.run, Role.OPERATOR)
        with (
            IdleBalancer(settings.coordinator, IDLE_S) as balancer,
            OperatorLink(balancer.address, credentials) as link,
        ):
            with pytest.raises(NotRecordedError):  # the open round keeps it waiting
                link.stop(within_s=2 * PATIENCE_S)
            assert balancer.num_forgotten == 1

    with coordinator.worker("gcp") as gcp:
        await asyncio.to_thread(in_round, gcp)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(
                play("aws", resets=True),
                play("azure", resets=False),
                asyncio.to_thread(command),
            )
