"""The control stream against a coordinator that is slow, busy or ending: no socket, no clock."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from protos.v1 import session_pb2
from services.wire.backoff import LONGEST_TOLD_S
from services.wire.status import RETRY_AFTER
from services.worker.link import Link
from simulator.clock import VirtualLoop

WELCOME = session_pb2.ConnectResponse(
    welcome=session_pb2.Welcome(heartbeat_interval_ms=1000, lease_ms=10_000)
)
PACE = session_pb2.ConnectResponse(pace=session_pb2.Pace())


class Call:
    """One stream, the coordinator's end of it in the hands of the test."""

    def __init__(self) -> None:
        self.said: list[tuple[float, str]] = []
        self.answers: asyncio.Queue[Any] = asyncio.Queue()

    async def write(self, message: session_pb2.ConnectRequest) -> None:
        kind = message.WhichOneof("message")
        self.said.append((asyncio.get_running_loop().time(), str(kind)))

    async def read(self) -> Any:
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def beats_s(self) -> list[float]:
        return [at_s for at_s, kind in self.said if kind == "heartbeat"]


class Bench:
    def __init__(self, *, welcomes: bool = True) -> None:
        self.welcomes = welcomes
        self.calls: list[Call] = []
        self.heard: list[Any] = []
        self.link = Link(
            "the coordinator",
            self.dial,
            join=session_pb2.Join,
            heartbeat=session_pb2.Heartbeat,
            inbox=self.heard.append,
        )

    @contextlib.asynccontextmanager
    async def dial(self) -> AsyncIterator[Call]:
        self.calls.append(Call())
        if self.welcomes:
            self.calls[-1].answers.put_nowait(WELCOME)
        yield self.calls[-1]


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.close()


async def running(seconds: float, bench: Bench) -> None:
    task = asyncio.create_task(bench.link.run())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.wait((task,))


def test_heartbeats_go_on_while_they_are_answered(loop: VirtualLoop) -> None:
    async def test() -> None:
        bench = Bench()
        task = asyncio.create_task(running(5.7, bench))
        await asyncio.sleep(0.5)
        for _ in range(5):
            await asyncio.sleep(1.0)
            bench.calls[0].answers.put_nowait(PACE)
        await task
        assert bench.calls[0].beats_s() == pytest.approx([0.0, 2.0, 3.0, 4.0, 5.0]), "one was late"

    loop.run_until_complete(test())


def test_no_heartbeat_queues_up_behind_one_without_an_answer(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        bench = Bench()
        await running(25.0, bench)
        first_s, *more_s = bench.calls[0].beats_s()
        assert len(bench.calls) == 1, "the stream stays"
        assert [s - first_s for s in more_s] == pytest.approx([11.0, 22.0]), "once per lease"

    loop.run_until_complete(test())
    assert caplog.text.count("it stalls") == 1


def test_a_coordinator_that_ends_is_dialled_again_when_it_says_so(loop: VirtualLoop) -> None:
    async def test() -> None:
        bench = Bench()
        task = asyncio.create_task(running(40.0, bench))
        await asyncio.sleep(1.0)
        after = session_pb2.Reconnect(after_ms=20_000)
        bench.calls[0].answers.put_nowait(session_pb2.ConnectResponse(reconnect=after))
        bench.calls[0].answers.put_nowait(None)
        await asyncio.sleep(19.0)
        assert len(bench.calls) == 1
        await task
        assert len(bench.calls) == 2

    loop.run_until_complete(test())


def test_no_coordinator_can_send_a_worker_away_for_longer_than_minutes(loop: VirtualLoop) -> None:
    async def test() -> None:
        bench = Bench()
        task = asyncio.create_task(running(2 * LONGEST_TOLD_S, bench))
        await asyncio.sleep(1.0)
        after = session_pb2.Reconnect(after_ms=2**32 - 1)
        bench.calls[0].answers.put_nowait(session_pb2.ConnectResponse(reconnect=after))
        bench.calls[0].answers.put_nowait(None)
        await task
        assert len(bench.calls) == 2

    loop.run_until_complete(test())


def test_a_second_welcome_ends_the_stream_with_a_sentence(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        bench = Bench()
        task = asyncio.create_task(running(10.0, bench))
        await asyncio.sleep(1.0)
        before = asyncio.all_tasks()
        bench.calls[0].answers.put_nowait(WELCOME)
        await asyncio.sleep(5.0)
        assert len(bench.calls) == 2
        assert len(asyncio.all_tasks()) == len(before), "no task of the former stream is left"
        assert bench.heard == [WELCOME, None, WELCOME], "the second one of the stream is not heard"
        await task

    loop.run_until_complete(test())
    assert "the coordinator sent a second Welcome: dialling again" in caplog.text


def test_a_worker_that_is_told_to_beat_without_pause_pauses(loop: VirtualLoop) -> None:
    async def test() -> None:
        bench = Bench(welcomes=False)
        task = asyncio.create_task(running(5.0, bench))
        await asyncio.sleep(0.05)
        at_once = session_pb2.Welcome(heartbeat_interval_ms=1, lease_ms=10_000)
        bench.calls[0].answers.put_nowait(session_pb2.ConnectResponse(welcome=at_once))
        for _ in range(400):
            await asyncio.sleep(0.01)
            bench.calls[0].answers.put_nowait(PACE)
        await task
        beats_s = bench.calls[0].beats_s()
        assert len(beats_s) > 20
        assert min(b - a for a, b in itertools.pairwise(beats_s)) > 0.09

    loop.run_until_complete(test())


def test_a_stream_that_is_given_up_is_followed_by_another(loop: VirtualLoop) -> None:
    async def test() -> None:
        bench = Bench()
        task = asyncio.create_task(running(10.0, bench))
        await asyncio.sleep(1.0)
        bench.link.redial()
        bench.calls[0].answers.put_nowait(PACE)
        await task
        assert [call.said[0][1] for call in bench.calls] == ["join", "join"]
        assert PACE not in bench.heard

    loop.run_until_complete(test())


def test_a_busy_coordinator_is_dialled_again_when_it_says_so(loop: VirtualLoop) -> None:
    async def test() -> None:
        bench = Bench()
        task = asyncio.create_task(running(40.0, bench))
        await asyncio.sleep(1.0)
        told = grpc.aio.Metadata((RETRY_AFTER, "20000"))
        code = grpc.StatusCode.RESOURCE_EXHAUSTED
        busy = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), told, "too many", None)
        bench.calls[0].answers.put_nowait(busy)
        await asyncio.sleep(19.0)
        assert len(bench.calls) == 1
        await task
        assert len(bench.calls) == 2

    loop.run_until_complete(test())


BREAKS = ("Socket closed", "Stream removed (recvmsg:Connection reset by peer (104))")


@pytest.mark.parametrize("text", BREAKS)
@pytest.mark.parametrize("accepted", [True, False])
def test_a_stream_that_broke_after_the_welcome_is_no_trouble_with_a_certificate(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture, text: str, accepted: bool
) -> None:
    async def test() -> None:
        bench = Bench(welcomes=accepted)
        task = asyncio.create_task(running(10.0, bench))
        await asyncio.sleep(1.0)
        nothing = grpc.aio.Metadata()
        lost = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, text, None)
        bench.calls[0].answers.put_nowait(lost)
        await task
        assert len(bench.calls) == 2

    loop.run_until_complete(test())
    broke = "the connection to the coordinator broke; dialling again"
    assert (broke in caplog.text) == accepted
    assert ("certificate" in caplog.text) != accepted


@pytest.mark.parametrize("last", ["drain", "replaced", "reconnect"])
def test_nothing_is_written_after_the_last_message_of_a_stream(
    loop: VirtualLoop, last: str, caplog: pytest.LogCaptureFixture
) -> None:
    message = session_pb2.ConnectResponse()
    getattr(message, last).SetInParent()

    async def test() -> None:
        bench = Bench()
        task = asyncio.create_task(running(14.0, bench))
        await asyncio.sleep(2.5)
        bench.calls[0].answers.put_nowait(PACE)
        await asyncio.sleep(2.0)
        num_said = len(bench.calls[0].said)
        bench.calls[0].answers.put_nowait(message)
        await asyncio.sleep(0)
        bench.link.send(session_pb2.ConnectRequest(heartbeat=session_pb2.Heartbeat()))
        await asyncio.sleep(5.0)
        assert len(bench.calls[0].said) == num_said
        bench.calls[0].answers.put_nowait(None)
        await task
        assert len(bench.calls) == (2 if last == "reconnect" else 1), "who is to end dials no more"

    loop.run_until_complete(test())
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_a_stream_that_ends_under_a_write_is_no_trouble_and_is_opened_again(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        bench = Bench()
        task = asyncio.create_task(running(10.0, bench))
        await asyncio.sleep(1.0)
        nothing = grpc.aio.Metadata()
        text = "Internal error from Core"  # what grpc.aio makes up
        lost = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, nothing, nothing, text, None)
        bench.calls[0].answers.put_nowait(lost)
        await task
        assert len(bench.calls) == 2

    with caplog.at_level("INFO"):
        loop.run_until_complete(test())
    assert "the stream ended while something was on its way" in caplog.text
    assert not [r for r in caplog.records if r.levelname == "WARNING" and "stream" in r.message]
