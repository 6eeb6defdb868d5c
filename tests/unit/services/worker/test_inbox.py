"""What the link process says of messages that no worker has to decide about."""

import pytest

from protos.v1 import session_pb2
from services.observe.metrics.worker import WorkerMetrics
from services.worker.inbox import Inbox


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("UnknownRoundError", "INFO late for the coordinator: so it is"),
        ("BadNumbersError", "WARNING rejected (BadNumbersError): so it is"),
    ],
)
async def test_an_answer_that_came_late_is_no_warning_and_one_that_is_wrong_is(
    caplog: pytest.LogCaptureFixture, error: str, line: str
) -> None:
    caplog.set_level("INFO")
    inbox = Inbox(WorkerMetrics(run="r", worker="aws", software="1", tells_loss=False))
    rejected = session_pb2.Rejected(error=error, sentence="so it is")
    inbox.received(session_pb2.ConnectResponse(rejected=rejected))
    assert await inbox.next() is None
    assert [f"{r.levelname} {r.getMessage()}" for r in caplog.records] == [line]
