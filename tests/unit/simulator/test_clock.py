import asyncio

import pytest

from simulator.clock import NothingHappensError, VirtualLoop
from simulator.host import NOBODY, Host


@pytest.fixture
def loop():
    loop = VirtualLoop()
    yield loop
    loop.close()


def test_hours_pass_at_once(loop: VirtualLoop) -> None:
    loop.run_until_complete(asyncio.sleep(3600))
    assert loop.time() == pytest.approx(3600)


def test_waiting_for_what_never_comes_is_an_error(loop: VirtualLoop) -> None:
    future = loop.create_future()
    with pytest.raises(NothingHappensError):
        loop.run_until_complete(future)


def test_a_paused_host_does_nothing_until_it_goes_on(loop: VirtualLoop) -> None:
    did: list[float] = []
    host = Host("h", died=lambda _: None, tell=lambda _: None, pauses_at=2, paused_for_s=5.0)

    async def work() -> None:
        for _ in range(3):
            host.happens("step")
            await asyncio.sleep(1.0)
            did.append(loop.time())

    async def play() -> None:
        await host.run(work())

    NOBODY.copy().run(loop.run_until_complete, play())
    assert did == pytest.approx([1.0, 6.0, 7.0])
