"""The driver with fakes at every port: the order of effects is the contract."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from common.documents import Abort, Control, Counters, Record, Rollback
from common.errors import (
    OutOfDescriptorsError,
    ProtocolError,
    StorageError,
    StorageFullError,
)
from common.ids import Digest, RoundId, SessionId, WorkerId
from common.rounds import LeaveReason
from coordinator.ports import (
    Append,
    Compute,
    Delete,
    Dismiss,
    DropSpool,
    Effect,
    Event,
    Finish,
    Forgotten,
    LeftOut,
    Message,
    Note,
    NotRolledBack,
    OpenSpool,
    Publish,
    Put,
    Save,
    Seal,
    Send,
    Table,
    Ticked,
)
from services.coordinator.driver import Driver

ROUND = RoundId("r1")
PLAN = SimpleNamespace(round=ROUND)
COMMIT: Any = SimpleNamespace(survivors=("aws", "gcp"), plan=PLAN)
ABORT = Abort(ROUND, (), "stopped", "a second stop")
RECORD = Record(3, Digest("p"), 0, 0, 0, Digest("d"), 0.0, Counters())


class Ports:
    """Every port at once, so that the order across them can be asserted; also the core."""

    def __init__(self, *effects: Effect, disk_is_full: bool = False, times_busy: int = 0) -> None:
        self.effects = effects
        self.times_busy = times_busy
        self.disk_is_full = disk_is_full
        self.seen: list[str] = []

    def handle(self, event: Event, now_s: float) -> tuple[Effect, ...]:
        if not self.effects:
            raise ProtocolError("not now")
        return self.effects

    async def apply(self, changes: tuple[Put | Delete, ...]) -> None:
        await asyncio.sleep(0)
        self.seen.append("save")

    def append(self, record: Record) -> None:
        if self.disk_is_full:
            raise StorageFullError("full")
        if self.times_busy:
            self.times_busy -= 1
            raise OutOfDescriptorsError("too many open files")
        self.seen.append(f"append {record.seq}")

    async def to_bulk(self, effect: OpenSpool | Seal | DropSpool) -> None:
        self.seen.append(type(effect).__name__)

    async def to_commit(self, effect: Compute) -> None:
        self.seen.append("compute")

    async def restore(self, version: int) -> None:
        self.seen.append(f"restore {version}")

    async def send(self, session: SessionId, message: Message) -> None:
        self.seen.append(f"send {session}")

    async def publish(self, record: Record) -> None:
        self.seen.append(f"publish {record.seq}")


def driver(ports: Ports, watch: Callable[[Effect, float], None] = lambda *_: None) -> Driver:
    times: Iterator[int] = iter(range(1000))
    return Driver(
        ports,
        store=ports,
        commit_log=ports,
        works=ports,
        now_s=lambda: float(next(times)),
        watch=watch,
    )


async def test_an_append_without_a_descriptor_waits_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    ports = Ports(Append(RECORD), Publish(RECORD), times_busy=3)
    made = driver(ports)
    await made.feed(Ticked())
    assert ports.seen == ["append 3", "publish 3"]
    assert not made.finished.done()


async def test_a_record_is_in_the_log_and_the_store_before_anyone_hears_of_it() -> None:
    ports = Ports(
        Append(RECORD),
        Save((Put(Table.STATE, "x", b"1"),)),
        Publish(RECORD),
        DropSpool(RoundId("r")),
        Send(SessionId("aws"), Dismiss(finished=True, reason="")),
        Note("closed", "a sentence"),
    )
    await driver(ports).feed(Ticked())
    assert ports.seen == ["append 3", "save", "publish 3", "DropSpool", "send aws"]


async def test_two_events_at_once_do_not_mix_their_effects() -> None:
    ports = Ports(Save(()), Send(SessionId("aws"), Dismiss(finished=True, reason="")))
    d = driver(ports)
    await asyncio.gather(d.feed(Ticked()), d.feed(Ticked()))
    assert ports.seen == ["save", "send aws"] * 2


async def test_a_refused_event_has_no_effect_and_the_driver_goes_on() -> None:
    ports = Ports()
    d = driver(ports)
    with pytest.raises(ProtocolError, match="not now"):
        await d.feed(Ticked())
    ports.effects = (Save(()),)
    await d.feed(Ticked())
    assert ports.seen == ["save"]


async def test_what_cannot_be_made_durable_is_told_to_nobody_and_ends_the_process() -> None:
    ports = Ports(Append(RECORD), Publish(RECORD), disk_is_full=True)
    d = driver(ports)
    with pytest.raises(StorageError, match="full"):
        await d.feed(Ticked())
    ports.disk_is_full = False
    with pytest.raises(StorageError, match="is ending"):
        await d.feed(Ticked())
    assert ports.seen == []
    assert isinstance(d.finished.exception(), StorageFullError)


def is_refusal(effect: Effect) -> bool:
    return isinstance(effect, NotRolledBack)


async def test_who_waits_for_an_end_hears_of_the_first_that_comes_after_its_own_event() -> None:
    earlier, later = NotRolledBack(1, "earlier"), NotRolledBack(2, "later")
    ports = Ports(Save(()), earlier)
    d = driver(ports)
    former = asyncio.create_task(d.feed(Ticked()))
    await asyncio.sleep(0)  # its turn has begun
    asked = asyncio.create_task(d.feed_until(Ticked(), is_refusal))
    await asyncio.sleep(0)
    ports.effects = (Save(()),)
    await former
    await asyncio.sleep(0.01)
    assert not asked.done()
    ports.effects = (later,)
    await d.feed(Ticked())
    assert await asked == later


async def test_who_waits_for_an_end_hears_that_the_event_is_refused() -> None:
    with pytest.raises(ProtocolError, match="not now"):
        await driver(Ports()).feed_until(Ticked(), is_refusal)


async def test_who_waits_for_an_end_hears_that_the_process_cannot_go_on() -> None:
    ports = Ports(Save(()), disk_is_full=True)
    d = driver(ports)
    asked = asyncio.create_task(d.feed_until(Ticked(), is_refusal))
    await asyncio.sleep(0.01)
    ports.effects = (Append(RECORD),)
    with pytest.raises(StorageError):
        await d.feed(Ticked())
    with pytest.raises(StorageError, match="full"):
        await asked


async def test_who_stops_waiting_for_an_end_takes_nothing_back() -> None:
    ports = Ports(Save(()))
    d = driver(ports)
    asked = asyncio.create_task(d.feed_until(Ticked(), is_refusal))
    await asyncio.sleep(0.01)
    asked.cancel()
    await asyncio.wait((asked,))
    assert ports.seen == ["save"]
    ports.effects = (NotRolledBack(1, ""),)
    await d.feed(Ticked())


async def test_what_counts_as_lost_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    await driver(Ports(Forgotten("round[open]", "not ASCII JSON"))).feed(Ticked())
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "the store: round[open] counts as lost: not ASCII JSON"


@pytest.mark.parametrize(
    ("act", "line"),
    [
        ({"control": Control("pause", "ann", "")}, "paused: by ann, at version 7"),
        ({"control": Control("resume", "ann", "")}, "resumed: by ann, at version 7"),
        ({"control": Control("stop", "ann", "asked for")}, "stopped: by ann, at version 7: asked"),
        ({"rollback": Rollback(2, 2, "ann")}, "rolled back: by ann, version 2 is version 7 now"),
        ({"commit": COMMIT}, "INFO committed: version 7 by aws, gcp in round r1 of r1"),
        ({"abort": ABORT}, "WARNING aborted: round r1: stopped: a second stop of r1"),
    ],
)
async def test_each_end_of_a_round_and_what_an_operator_did_is_in_the_log(
    caplog: pytest.LogCaptureFixture, act: dict[str, Any], line: str
) -> None:
    caplog.set_level("INFO")
    await driver(Ports(Publish(replace(RECORD, version=7, **act)))).feed(Ticked())
    (said,) = caplog.records
    told = f"{said.levelname} {said.getMessage()} of {getattr(said, 'round', '')}"
    assert line in told
    assert said.getMessage().startswith(f"{getattr(said, 'event')}: ")  # noqa: B009 - a field of ours


async def test_the_end_of_the_run_is_a_result() -> None:
    d = driver(Ports(Finish("version 3 of 3")))
    await d.feed(Ticked())
    await d.feed(Ticked())
    assert d.finished.result() == "version 3 of 3"


async def test_each_effect_is_watched_with_the_time_that_it_took() -> None:
    watched: list[tuple[Any, float]] = []
    ports = Ports(Append(RECORD), Publish(RECORD))
    await driver(ports, lambda effect, seconds: watched.append((effect, seconds))).feed(Ticked())
    assert [(type(e), s) for e, s in watched] == [(Append, 1.0), (Publish, 1.0)]


async def test_a_member_that_was_left_out_is_logged_with_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    aws, gcp = WorkerId("aws"), WorkerId("gcp")
    late = LeftOut(ROUND, aws, LeaveReason.LATE_UPLOAD)
    silent = LeftOut(ROUND, gcp, LeaveReason.SILENT, "not heard for 10.1 s")
    await driver(Ports(late, silent)).feed(Ticked())
    assert [r.getMessage() for r in caplog.records] == [
        "left out: aws of round r1: its upload was late",
        "left out: gcp of round r1: not heard for 10.1 s",
    ]
    assert caplog.records[0].worker == "aws"  # type: ignore[attr-defined]


async def test_a_note_is_logged_with_what_it_is_about(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    ports = Ports(Note("lost", "aws: silent", WorkerId("aws"), RoundId("r")), Note("closed", "it"))
    await driver(ports).feed(Ticked())
    first, second = caplog.records
    assert (first.event, first.worker, first.round) == ("lost", "aws", "r")  # type: ignore[attr-defined]
    assert (second.event, hasattr(second, "worker")) == ("closed", False)  # type: ignore[attr-defined]
