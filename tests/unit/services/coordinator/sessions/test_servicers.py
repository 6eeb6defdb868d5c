"""What the control port says of a message that the core refused."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from common.errors import BadNumbersError, ProtocolError, UnknownRoundError
from common.ids import SessionId, WorkerId
from coordinator.ports import Event, Joined
from protos.v1 import session_pb2
from services.coordinator.sessions.servicers import SessionService
from services.coordinator.sessions.streams import Session, Sessions


class Refusing:
    """A driver that lets a worker join and refuses what comes then."""

    def __init__(self, error: ProtocolError) -> None:
        self.error = error

    async def feed(self, event: Event) -> None:
        if not isinstance(event, Joined):
            raise self.error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UnknownRoundError("r1 is over"), "INFO late from aws: r1 is over"),
        (BadNumbersError("too many"), "WARNING refused from aws: too many"),
    ],
)
async def test_an_answer_that_came_late_is_no_warning_and_one_that_is_wrong_is(
    caplog: pytest.LogCaptureFixture, error: ProtocolError, line: str
) -> None:
    caplog.set_level("INFO")
    unused: Any = SimpleNamespace()
    driver: Any = Refusing(error)
    service = SessionService(
        driver,
        admission=unused,
        members=unused,
        sessions=Sessions(),
        reports=unused,
        tail=unused,
        heartbeat_interval_s=1,
        lease_s=9,
    )
    session = Session(SessionId("aws-1"), WorkerId("aws"), 0, asyncio.Event().set)

    async def says() -> AsyncIterator[session_pb2.ConnectRequest]:
        yield session_pb2.ConnectRequest(leave=session_pb2.Leave(reason="it ends"))

    await service._read(session, "acme", says(), session_pb2.Join())
    assert [f"{r.levelname} {r.getMessage()}" for r in caplog.records] == [line]
    assert session.num_waiting == 1, "the worker is told, too"
