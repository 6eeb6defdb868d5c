from pathlib import Path

import pytest

from common.errors import ProtocolError, StaleLeaderError
from common.ids import Digest, SessionId, WorkerId
from protos.v1 import session_pb2
from services.coordinator.kept.log_store import LogStore
from services.coordinator.sessions.streams import MAX_WAITING, LogTail, Session
from tests.rig.rounds.run_script import begun


def test_who_has_seen_more_than_the_log_holds_is_refused_unless_another_leads(
    tmp_path: Path,
) -> None:
    script = begun()
    script.tell("0 restart")
    takeover = script.log[0]
    mine = LogStore(tmp_path, Digest(takeover.previous))
    tail = LogTail(0, mine.read, (0, 0), mine.ends_with_ours)

    tail.check_seen(0, "aws")
    with pytest.raises(ProtocolError, match=r"aws has seen 1 .* only 0: it was part of another"):
        tail.check_seen(1, "aws")

    LogStore(tmp_path, Digest(takeover.previous)).append(takeover)  # by a newer leader
    with pytest.raises(StaleLeaderError, match="another coordinator leads"):
        tail.check_seen(1, "aws")


# What waits on one stream


def message(text: str) -> session_pb2.ConnectResponse:
    return session_pb2.ConnectResponse(rejected=session_pb2.Rejected(sentence=text))


def unread(overruns: list[str]) -> Session:
    """Return the stream of a worker that reads nothing."""
    return Session(SessionId("s"), WorkerId("aws"), 0, lambda: overruns.append("over"))


async def test_of_a_stream_that_nobody_reads_the_queue_is_given_up_and_grows_no_more() -> None:
    overruns: list[str] = []
    session = unread(overruns)
    for i in range(20_000):
        session.send(message(str(i)))
        assert session.num_waiting <= MAX_WAITING
    assert overruns == ["over"], "ended once"
    assert session.num_waiting == 0


async def test_new_records_alone_wake_a_stream_once_however_many_there_are() -> None:
    session = unread([])
    for _ in range(20_000):
        session.wake()
    assert session.num_waiting == 1
    session.send(message("x"))
    assert session.num_waiting == 2


async def test_what_was_queued_before_the_end_is_sent_in_order_and_nothing_after_it() -> None:
    overruns: list[str] = []
    session = unread(overruns)
    for i in range(MAX_WAITING):
        session.send(message(str(i)))
    session.end()
    session.send(message("too late"))
    sent = [
        m.rejected.sentence
        async for m in session.outgoing(LogTail(0, lambda _: b"", (0, 0), lambda: True))
    ]
    assert sent == [str(i) for i in range(MAX_WAITING)]
    assert overruns == []
