import os
import socket
from dataclasses import dataclass

import pytest

from common.errors import MalformedDocumentError
from services.wire.child import Line, decode_line, encode_line


@dataclass(frozen=True)
class Ping:
    number: int


@dataclass(frozen=True)
class Pong:
    word: str


@pytest.fixture
def ends():
    """A parent's raw socket, and the child's `Line` that may receive Ping and Pong."""
    ours, theirs = socket.socketpair()
    line = Line(theirs.detach(), (Ping, Pong))
    yield ours, line
    ours.close()
    line.close()


def test_a_message_is_one_readable_line():
    assert encode_line(Pong("a\nb")) == b'{"Pong":{"word":"a\\nb"}}\n'


@pytest.mark.parametrize("message", [Ping(3), Pong("ä"), Pong('":')])
def test_a_message_comes_back(message):
    assert decode_line(encode_line(message), (Ping, Pong)) == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b'{"Ping":{"number":1}}',
        b'{"Pin":{"number":1}}\n',
        b'{"Ping":{"number":"1"}}\n',
        b'{"Ping":{"number":1} }\n',
        b'{"Ping":{"number":1,"x":1}}\n',
        b"\x80\x04.\n",
    ],
)
def test_what_is_not_an_expected_message_is_refused(line):
    with pytest.raises(MalformedDocumentError):
        decode_line(line, (Ping, Pong))


def test_a_message_of_a_kind_that_is_not_expected_is_refused():
    with pytest.raises(MalformedDocumentError, match="expected Ping"):
        decode_line(encode_line(Pong("x")), (Ping,))


def test_several_messages_in_one_packet_come_one_by_one(ends):
    parent, line = ends
    parent.sendall(encode_line(Ping(1)) + encode_line(Pong("x")) + b'{"Ping":{"nu')

    assert (line.receive(), line.receive()) == (Ping(1), Pong("x"))
    assert line.receive(0.0) is None
    parent.sendall(b'mber":2}}\n')
    assert line.receive() == Ping(2)


def test_nothing_waiting_is_none_at_once(ends):
    _, line = ends

    assert line.receive(0.0) is None


def test_a_parent_that_ended_is_an_end_of_file_on_both_sides(ends):
    parent, line = ends
    parent.close()

    with pytest.raises(EOFError):
        line.receive()
    with pytest.raises(EOFError):
        line.send(Ping(1))


def test_what_the_parent_sent_before_it_ended_is_still_read(ends):
    parent, line = ends
    parent.sendall(encode_line(Ping(1)))
    parent.close()

    assert line.receive() == Ping(1)
    with pytest.raises(EOFError):
        line.receive()


def test_a_descriptor_above_1024_works():
    ours, theirs = socket.socketpair()
    high = os.dup2(theirs.fileno(), 2000, inheritable=False)
    theirs.close()
    line = Line(high, (Ping,))

    ours.sendall(encode_line(Ping(7)))

    assert line.receive(1.0) == Ping(7)
    ours.close()
    line.close()
