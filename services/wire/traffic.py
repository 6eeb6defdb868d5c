"""Bytes on the wire: what TCP carries for a message, counted by kind, both ways.

A message is counted exactly; what gRPC, HTTP/2 and TLS add follows from their formats:

    5 per message              gRPC: flag and length
    9 per 16,384 of that       HTTP/2: head of a DATA frame (RFC 9113, 4.1)
    22 per 16,284 of that      TLS 1.3: head, type, tag of a record (RFC 8446, 5.2), as gRPC cuts
    26 the other way           HTTP/2: WINDOW_UPDATE of stream and connection, beside an answer

Not counted: a connection's beginning (about 2.4 kB up, 3.4 kB down), headers of calls, pings and
more window updates (together less than 0.1 % of large bodies); what is sent again, below TCP. Of a
transfer that breaks, what waited in buffers counts as sent: a message at most.
"""

from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Final, Literal

RETURNED_BYTES: Final = 26
"""What a message costs in the other direction."""

_PREFIX: Final = 5
_FRAME: Final = 9
_FRAME_CONTENT: Final = 16_384
_RECORD: Final = 22
_RECORD_CONTENT: Final = 16_284

Direction = Literal["sent", "received"]
"""As whoever dialled sees it: the worker, or the evaluator."""

DIRECTIONS: Final[tuple[Direction, ...]] = ("sent", "received")

KINDS: Final[Mapping[str, str]] = {
    "update": "what members of cohorts upload: compressed, masked",
    "aggregate": "what every worker replays to stand on the next version",
    "version": "for workers that begin, or are far behind",
    "control": "heartbeats, offers, plans, keys and shares, the log",
    "download": "sums or whole versions, where only the downloading side can tell",
}
"""What bytes on the wire are for, and a sentence each; values are stable, as a phase's are."""

OTHER: Final = "other"
"""What another side calls something else."""


def wire_bytes(message_bytes: int) -> int:
    """Return what TCP carries for one message, in its own direction."""
    prefixed = message_bytes + _PREFIX
    framed = prefixed + _FRAME * -(-prefixed // _FRAME_CONTENT)
    return framed + _RECORD * -(-framed // _RECORD_CONTENT)


def both_ways(direction: Direction, message_bytes: int) -> Iterator[tuple[Direction, int]]:
    """Yield what TCP carries for one message, in its own direction and in the other."""
    yield direction, wire_bytes(message_bytes)
    yield ("received" if direction == "sent" else "sent"), RETURNED_BYTES


class TrafficCounts:
    """Bytes on the wire by direction and kind, and what they stand for. For many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._wire: dict[Direction, dict[str, int]] = {"sent": {}, "received": {}}
        self._float32: dict[Direction, dict[str, int]] = {"sent": {}, "received": {}}

    def message(
        self, direction: Direction, kind: str, message_bytes: int, num_messages: int = 1
    ) -> None:
        """So many messages of `message_bytes` each passed."""
        with self._lock:
            for way, num_bytes in both_ways(direction, message_bytes):
                _add(self._wire[way], kind, num_messages * num_bytes)

    def content(self, direction: Direction, kind: str, float32_bytes: int) -> None:
        """Content arrived whole that had so many bytes as float32."""
        with self._lock:
            _add(self._float32[direction], kind, float32_bytes)

    def wire(self, direction: Direction) -> Mapping[str, int]:
        """Return bytes on the wire by kind."""
        with self._lock:
            return dict(self._wire[direction])

    def float32(self, direction: Direction) -> Mapping[str, int]:
        """Return by kind what the content that passed would be as float32."""
        with self._lock:
            return dict(self._float32[direction])


def _add(by_kind: dict[str, int], kind: str, num_bytes: int) -> None:
    by_kind[kind] = by_kind.get(kind, 0) + num_bytes
