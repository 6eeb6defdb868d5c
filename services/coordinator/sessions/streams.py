"""The open control streams: what waits to be sent on each, and how far each has read the log.

A stream's messages leave in order, and before any of them the log records that the worker has not
had yet: so an outcome always precedes the plan that rests on it, and none is ever skipped.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from common.errors import BusyError, ProtocolError, StaleLeaderError
from common.ids import SessionId, WorkerId
from protos.v1 import session_pb2

MAX_WAITING: Final = 256
"""Messages that may wait on one stream; a worker that reads slower than that is let go."""

RECONNECT_AFTER_S: Final = 2.0
"""When a stream of a coordinator that ends may be dialled anew."""


class StreamQuota:
    """Who may have how many streams of the control port open.

    Whoever opens one too many of a name ends that name's oldest: a worker whose connection died
    has to come back at once, long before the old stream is known to be dead.

    Args:
        max_streams: of all names.
        max_per_name: of one.
    """

    def __init__(self, max_streams: int = 1024, max_per_name: int = 4) -> None:
        self._max_streams = max_streams
        self._max_per_name = max_per_name
        self._open: dict[str, list[asyncio.Task[Any]]] = {}
        self._evicted: set[asyncio.Task[Any]] = set()
        self._closed = False

    def close(self) -> None:
        """Let nobody in any more: this coordinator ends."""
        self._closed = True

    @contextmanager
    def entered(self, name: str) -> Iterator[None]:
        """Hold a stream of `name`, the calling task, for as long as the block lasts.

        Raises:
            BusyError: there are enough, or this coordinator ends.
        """
        if self._closed:
            raise BusyError("this coordinator is ending: dial again", RECONNECT_AFTER_S)
        mine = self._open.get(name, [])
        num_open = sum(map(len, self._open.values()))
        if num_open >= self._max_streams and not mine:
            raise BusyError(
                f"{num_open} streams are open, and limits.max_sessions of the coordinator allows"
                " no more: try again in a while",
                RECONNECT_AFTER_S,
            )
        if mine and (len(mine) >= self._max_per_name or num_open >= self._max_streams):
            oldest = mine.pop(0)
            self._evicted.add(oldest)
            oldest.cancel()
        task = asyncio.current_task()
        assert task is not None
        self._open.setdefault(name, mine).append(task)
        try:
            yield
        except asyncio.CancelledError:
            if task in self._evicted and task.uncancel() == 0:  # gRPC wants a status to end a call
                raise ProtocolError(f"a newer stream of {name} took this one's place") from None
            raise
        finally:
            self._evicted.discard(task)
            if task in mine:
                mine.remove(task)
            if not mine:
                self._open.pop(name, None)


class LogTail:
    """Where the log ends, for those who follow it.

    Attributes:
        start_seq: the record at which a newcomer begins.
        first_start_seq: the same for one that has version 0 whole.
    """

    def __init__(
        self,
        num_records: int,
        read: Callable[[int], bytes],
        starts: tuple[int, int],
        ends_with_ours: Callable[[], bool],
    ) -> None:
        self._ends_with_ours = ends_with_ours
        self.num_records = num_records
        self.start_seq, self.first_start_seq = starts
        self.read = read
        self._grown = asyncio.Condition()

    async def grow(self, num_records: int, starts: tuple[int, int]) -> None:
        """Tell the followers that the log has `num_records` records now.

        Args:
            starts: `start_seq` and `first_start_seq` from now on.
        """
        async with self._grown:
            self.start_seq, self.first_start_seq = starts
            self.num_records = num_records
            self._grown.notify_all()

    def check_seen(self, num_seen: int, who: str) -> None:
        """Let one pass that has seen no more records than there are.

        Raises:
            StaleLeaderError: there are more, of another leader, which this one did not know yet.
            ProtocolError: there are not.
        """
        if num_seen <= self.num_records:
            return
        if not self._ends_with_ours():
            raise StaleLeaderError("another coordinator leads this run: ask again")
        raise ProtocolError(
            f"{who} has seen {num_seen} log records and there are only {self.num_records}: it was"
            " part of another history of this run; give it an empty state folder"
        )

    async def follow(self, from_seq: int) -> AsyncIterator[bytes]:
        """Yield every record from `from_seq` on, for ever."""
        seq = from_seq
        while True:
            while seq < self.num_records:
                yield self.read(seq)
                seq += 1
            async with self._grown:
                while self.num_records <= seq:
                    await self._grown.wait()


class Session:
    """One worker's control stream, the sending half.

    Args:
        next_seq: of the log's records, the first that the worker has not had.
        overrun: ends the stream at once, whoever reads or writes it.
    """

    def __init__(
        self,
        session: SessionId,
        worker: WorkerId,
        next_seq: int,
        overrun: Callable[[], None],
    ) -> None:
        self.id = session
        self._overrun = overrun
        self.worker = worker
        self._next_seq = next_seq
        self._waiting: asyncio.Queue[session_pb2.ConnectResponse | None] = asyncio.Queue()
        self._over = False

    @property
    def num_waiting(self) -> int:
        """Messages that wait to be sent."""
        return self._waiting.qsize()

    def send(self, message: session_pb2.ConnectResponse) -> None:
        """Queue a message; one too many ends the stream, and nothing waits on it any more."""
        if self._over:
            return
        if self._waiting.qsize() < MAX_WAITING:
            self._waiting.put_nowait(message)
            return
        self._over = True
        self._waiting = asyncio.Queue()
        self._overrun()

    def wake(self) -> None:
        """Have it send new log records; whatever waits already has it do so, too."""
        if self._waiting.empty():
            self._waiting.put_nowait(None)

    def end(self) -> None:
        """Close the stream once what is queued has been sent."""
        if not self._over:
            self._over = True
            self._waiting.put_nowait(None)

    async def outgoing(self, log: LogTail) -> AsyncIterator[session_pb2.ConnectResponse]:
        """Yield what the worker is to get, in order, until the session ends."""
        message: session_pb2.ConnectResponse | None = None
        while True:
            while self._next_seq < log.num_records:
                record = log.read(self._next_seq)
                self._next_seq += 1
                yield session_pb2.ConnectResponse(outcome=session_pb2.Outcome(record=record))
            if message is not None:
                yield message
            if self._over and self._waiting.empty():
                return
            message = await self._waiting.get()


class Sessions:
    """All open control streams by id."""

    def __init__(self) -> None:
        self._open: dict[SessionId, Session] = {}

    def add(self, session: Session) -> None:
        """Begin to route messages to `session`."""
        self._open[session.id] = session

    def discard(self, session: SessionId) -> None:
        """Stop routing messages to `session`."""
        self._open.pop(session, None)

    def send(self, session: SessionId, message: session_pb2.ConnectResponse, *, last: bool) -> None:
        """Queue `message`, if the session is still there; after the `last` one the stream ends."""
        if found := self._open.get(session):
            found.send(message)
            if last:
                found.end()

    def reconnect(self) -> None:
        """Tell every worker to dial again, after what is queued, and end its stream."""
        message = session_pb2.Reconnect(after_ms=round(RECONNECT_AFTER_S * 1000))
        for session in list(self._open):
            self.send(session, session_pb2.ConnectResponse(reconnect=message), last=True)

    def wake(self) -> None:
        """Let every stream send the log records that are new."""
        for session in self._open.values():
            session.wake()

    def __len__(self) -> int:
        return len(self._open)
