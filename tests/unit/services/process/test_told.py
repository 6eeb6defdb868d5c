import asyncio
import signal
import threading
from collections.abc import Iterator

import pytest

from common.errors import StorageError, ToldToEndError
from services.process.ending import NUMBERS
from services.process.told import to_its_end, told_to_end, unless


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {n: signal.getsignal(n) for n in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


async def a_told() -> "asyncio.Future[None]":
    return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("number", NUMBERS)
async def test_the_first_signal_tells_and_a_second_changes_nothing(number: signal.Signals) -> None:
    told = asyncio.create_task(told_to_end(9.0))
    await asyncio.sleep(0)
    signal.raise_signal(number)
    await told
    signal.raise_signal(number)


async def test_what_ends_before_it_is_told_to_has_its_result() -> None:
    async def work() -> int:
        return 7

    assert await unless(await a_told(), work()) == 7


async def test_what_fails_before_it_is_told_to_has_its_error() -> None:
    async def work() -> None:
        raise StorageError("the disk is on fire")

    with pytest.raises(StorageError):
        await unless(await a_told(), work())


@pytest.mark.parametrize("undoing", ["goes well", "fails"])
async def test_what_is_under_way_when_it_is_told_to_end_undoes_itself_first(undoing: str) -> None:
    told, undone = await a_told(), []

    async def work() -> None:
        told.set_result(None)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            undone.append(True)
            if undoing == "fails":
                raise StorageError("the disk is on fire")

    with pytest.raises(ToldToEndError):
        await unless(told, work())
    assert undone == [True]


async def test_nothing_begins_that_is_told_to_end_before() -> None:
    told, began = await a_told(), []
    told.set_result(None)

    async def work() -> None:
        began.append(True)
        await asyncio.Event().wait()

    with pytest.raises(ToldToEndError):
        await unless(told, work())
    assert began == []


async def test_a_thread_that_nobody_waits_for_gives_up_and_what_it_made_is_undone() -> None:
    began, given_up = asyncio.Event(), threading.Event()
    undone: list[int] = []
    loop = asyncio.get_running_loop()

    def work(number: int) -> int:
        loop.call_soon_threadsafe(began.set)
        given_up.wait()
        return number

    waiting = asyncio.create_task(to_its_end(work, 7, give_up=given_up.set, undo=undone.append))
    await began.wait()
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert waiting.cancelled()
    assert undone == [7]


async def test_a_thread_that_fails_while_nobody_waits_has_nothing_to_undo() -> None:
    began, given_up = asyncio.Event(), threading.Event()
    undone: list[int] = []
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(began.set)
        given_up.wait()
        raise StorageError("the disk is on fire")

    waiting = asyncio.create_task(to_its_end(work, give_up=given_up.set, undo=undone.append))
    await began.wait()
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert waiting.cancelled()
    assert undone == []
