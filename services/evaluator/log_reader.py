"""The run's log as an evaluator reads it: one thread dials, decodes and queues, another takes.

The queue always ends: where the thread ends, for whatever reason, `arrived` says so, and `refusal`
holds why. A record that cannot be read ends it: what follows one could not be trusted either.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Final

import grpc

from common import canonical
from common.documents import Record
from protos.v1 import session_pb2
from services.wire.backoff import RetryBackoff
from services.wire.credentials import is_break
from services.wire.status import error_of, retry_after_s

log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 15.0

OpenLog = Callable[[session_pb2.WatchLogRequest], Iterable[session_pb2.WatchLogResponse]]


class LogReader:
    """See the module docstring.

    Args:
        watch: opens the stream of records; `SessionStub.WatchLog`.
        next_seq: of the first record that is wanted; None = from the head.
        closing: set where nothing is wanted any more.
        explain: says what to do about a call that failed.
        received: is told the bytes of each message.

    Attributes:
        refusal: why the log ended early; None where nothing went wrong.
    """

    def __init__(
        self,
        watch: OpenLog,
        next_seq: int | None,
        *,
        closing: threading.Event,
        explain: Callable[[grpc.RpcError], str],
        received: Callable[[int], None],
    ) -> None:
        self._watch = watch
        self._next_seq = next_seq
        self._closing = closing
        self._explain = explain
        self._received = received
        self._records: SimpleQueue[Record | None] = SimpleQueue()
        self.refusal: Exception | None = None

    def start(self) -> None:
        """Begin to read, in a thread of its own."""
        threading.Thread(target=self._read, daemon=True, name="log").start()

    @property
    def has_more(self) -> bool:
        """Whether `arrived` would return at once."""
        return not self._records.empty()

    def arrived(self) -> tuple[list[Record], bool]:
        """Return the records that came, once there is one, and whether no other will."""
        found: list[Record] = []
        record = self._records.get()
        while record is not None:
            found.append(record)
            try:
                record = self._records.get_nowait()
            except Empty:
                return found, False
        return found, True

    def _read(self) -> None:
        """Put every record of the log into the queue, for ever; None at the end, whatever it is."""
        try:
            self._follow()
        except Exception as e:  # the main thread raises it
            self.refusal = e
        finally:
            self._records.put(None)

    def _follow(self) -> None:
        backoff = RetryBackoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        while not self._closing.is_set():
            told_s, heard = None, False
            request = session_pb2.WatchLogRequest(from_seq=self._next_seq, follow=True)
            try:
                for response in self._watch(request):
                    self._received(response.ByteSize())
                    heard, record = True, canonical.decode(response.record, Record)
                    self._next_seq = record.seq + 1
                    backoff.reset()
                    self._records.put(record)
            except grpc.RpcError as e:
                if (refusal := error_of(e)) is not None:
                    raise refusal from None
                told_s = retry_after_s(e)
                if self._closing.is_set():
                    break
                if heard and is_break(e):
                    log.warning("the connection to the coordinator broke; dialling again")
                else:
                    log.warning("the run's log cannot be followed: %s", self._explain(e))
            except ValueError:  # the channel was closed by the main thread
                break
            self._closing.wait(backoff.wait_s(told_s))
