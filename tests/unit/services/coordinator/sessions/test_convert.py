from common.ids import SessionId
from coordinator.ports import Departed, Refused
from protos.v1 import session_pb2
from services.coordinator.sessions.convert import event_of

SESSION = SessionId("s")
FORGED = "bye\n12:00:00 control WARNING rolled back by ann\x1b[2J"
SHOWN = r"bye\n12:00:00 control WARNING rolled back by ann\x1b[2J"


def test_sentences_of_workers_come_into_the_run_as_they_may_be_shown() -> None:
    leave = session_pb2.ConnectRequest(leave=session_pb2.Leave(reason=FORGED))
    assert event_of(SESSION, leave) == Departed(SESSION, SHOWN)
    refuse = session_pb2.Refuse(round_id=bytes(16), rule=3, sentence=FORGED)
    refused = event_of(SESSION, session_pb2.ConnectRequest(refuse=refuse))
    assert isinstance(refused, Refused)
    assert refused.sentence == SHOWN
