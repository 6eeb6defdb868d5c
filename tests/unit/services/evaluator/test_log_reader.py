"""The log's thread always ends its queue: who waits for a record never waits without end."""

import threading
from collections.abc import Iterator

import pytest

from common import canonical
from common.errors import MalformedDocumentError
from protos.v1 import session_pb2
from services.evaluator.log_reader import LogReader, OpenLog
from tests.rig.rounds.small_chain import Coordinator

Responses = Iterator[session_pb2.WatchLogResponse]
SOUND = Coordinator().step()


def read_by(watch: OpenLog) -> LogReader:
    reader = LogReader(
        watch, None, closing=threading.Event(), explain=str, received=lambda num_bytes: None
    )
    reader.start()
    return reader


@pytest.mark.timeout(60)
@pytest.mark.parametrize("content", [b'{"broken":1}', b"", b"[" * 10**5, b"\xff"])
def test_a_record_that_cannot_be_read_ends_the_log_and_is_its_refusal(content: bytes) -> None:
    def watch(_: session_pb2.WatchLogRequest) -> Responses:
        yield session_pb2.WatchLogResponse(record=canonical.encode(SOUND))
        yield session_pb2.WatchLogResponse(record=content)

    reader, records, is_over = read_by(watch), [], False
    while not is_over:
        more, is_over = reader.arrived()
        records += more
    assert records == [SOUND]
    assert isinstance(reader.refusal, MalformedDocumentError)


@pytest.mark.timeout(60)
def test_an_error_of_ours_ends_the_log_too() -> None:
    def watch(_: session_pb2.WatchLogRequest) -> Responses:
        raise KeyError("ours")

    reader = read_by(watch)
    assert reader.arrived() == ([], True)
    assert isinstance(reader.refusal, KeyError)
