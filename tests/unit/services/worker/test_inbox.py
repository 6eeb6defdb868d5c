"""What the link process says of messages that no agent has to see."""

import pytest

from protos.v1 import session_pb2
from services.observe.metrics import WorkerMetrics
from services.process.exit_status import Exit
from services.worker.inbox import Inbox
from services.worker.link import EndedError


class Enough:
    """An agent that ends after one message."""

    def consider_offering(self) -> None:
        raise EndedError("enough", Exit.OVER)


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
    inbox.agent = Enough()  # type: ignore[assignment]
    rejected = session_pb2.Rejected(error=error, sentence="so it is")
    inbox.received(session_pb2.ConnectResponse(rejected=rejected))
    with pytest.raises(EndedError):
        await inbox.run()
    assert [f"{r.levelname} {r.getMessage()}" for r in caplog.records] == [line]
