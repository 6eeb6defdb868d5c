"""Whose turn it is: effects are carried out whole, whoever fed the event and whatever fails."""

import asyncio
import contextlib
import gc

import pytest

from common.errors import StorageError, UnexpectedMessageError
from coordinator.ports import Delete, Note, Save, Table, Ticked
from services.coordinator.driver import Driver
from services.wire.child import ChildEndedError

SAVE = Save((Delete(Table.OFFERS, "aws"),))
NOTE = Note("closed", "a round")


class Core:
    """Answers every event with the same effects, or refuses it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def handle(self, event, now_s):
        if self.error is not None:
            raise self.error
        return (SAVE, NOTE)


class SlowStore:
    """Answers when it is let."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self.error = error

    async def apply(self, changes):
        self.asked.set()
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error


def driver(core: Core, store: SlowStore, done: list[object]) -> Driver:
    return Driver(
        core,
        store=store,
        commit_log=None,  # type: ignore[arg-type]  # no effect here is for it
        works=None,  # type: ignore[arg-type]  # nor for them
        now_s=lambda: 0.0,
        watch=lambda effect, _: done.append(effect),
    )


async def test_effects_are_carried_out_to_the_end_though_whoever_fed_the_event_is_cancelled() -> (
    None
):
    store = SlowStore()
    done: list[object] = []
    running = driver(Core(), store, done)
    feeding = asyncio.create_task(running.feed(Ticked()))
    await store.asked.wait()
    feeding.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await feeding
    store.may_answer.set()
    await running.feed(Ticked())  # its turn comes after
    assert done == [SAVE, NOTE, SAVE, NOTE]


async def test_an_effect_that_fails_ends_the_run_in_this_process_whoever_fed_the_event() -> None:
    store = SlowStore(ChildEndedError("bulk was killed"))
    store.may_answer.set()
    running = driver(Core(), store, [])
    with pytest.raises(StorageError, match="cannot go on: bulk was killed"):
        await running.feed(Ticked())
    with pytest.raises(ChildEndedError):
        running.finished.result()


async def test_a_refused_event_ends_nothing() -> None:
    running = driver(Core(UnexpectedMessageError("not now")), SlowStore(), [])
    with pytest.raises(UnexpectedMessageError):
        await running.feed(Ticked())
    assert not running.finished.done()


async def test_a_turn_that_fails_after_its_feeder_went_leaves_no_unread_exception() -> None:
    unread: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: unread.append(about))
    store = SlowStore(ChildEndedError("bulk was killed"))
    running = driver(Core(), store, [])
    feeding = asyncio.create_task(running.feed(Ticked()))
    await store.asked.wait()
    feeding.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await feeding
    store.may_answer.set()
    with pytest.raises(ChildEndedError):
        await running.finished
    await asyncio.sleep(0)
    gc.collect()
    assert unread == []
