"""Links in virtual time: control streams that keep their order until they break, and calls.

A stream loses only its tail, as TCP does: messages come late, in order, each perhaps twice (which
the protocol allows), and when the stream breaks, what is still under way is lost. Its two ends
learn of that at different times. Calls of the bulk port run beside it, in no order with it.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import grpc

from common.errors import CrosscloudError, ProtocolError
from common.ids import RoundId, WorkerId
from protos.v1 import session_pb2
from services.wire.status import status_of
from simulator.host import NOBODY, Host, happens
from simulator.liar import Liar
from simulator.turn_thread import Killed

T = TypeVar("T")

_LATENCY_S: Final = (0.005, 0.12)
_NOTICED_S: Final = (0.0, 2.0)
"""How long it takes until an end learns that its stream is broken."""


_END: Final = object()
"""What a call reads at its end: anything that is no message."""


class NoAnswerError(Exception):
    """No answer; whether the call was carried out is unknown."""


class Server(Protocol):
    """A coordinator that serves."""

    host: Host

    async def connect(self, stream: "ControlStream") -> None:
        """Serve one control stream."""


def _nothing(*_: object) -> None:
    pass


@dataclass(eq=False)
class Network:
    """Who reaches whom, and how badly.

    Args:
        server: who answers at the coordinator's address now; None = nobody.
        said: sees every message of the coordinator when it is sent.
        heard: likewise every message of a worker, whose process it names by its boot.
        uploads: likewise shards.
        latency_s: fewest and most seconds that a message takes.
        duplicates: share of messages that come twice.
        cuts: share of bulk calls that break.
        unreachable: workers whose network is away.
        liars: what stands between the coordinator and a worker now.
        listeners: those that hear what is said, to lie better.
    """

    rng: random.Random
    said: Callable[[WorkerId, session_pb2.ConnectResponse], None] = _nothing
    heard: Callable[[WorkerId, str, session_pb2.ConnectRequest], None] = _nothing
    uploads: Callable[[WorkerId, str, RoundId, list[tuple[int, bytes]]], None] = _nothing
    latency_s: tuple[float, float] = _LATENCY_S
    server: Server | None = None
    duplicates: float = 0.0
    cuts: float = 0.0
    unreachable: set[WorkerId] = field(default_factory=set)
    streams: list["ControlStream"] = field(default_factory=list)
    liars: dict[WorkerId, Liar] = field(default_factory=dict)
    listeners: list[Liar] = field(default_factory=list)

    def reaches(self, worker: WorkerId) -> bool:
        """Return whether a call of `worker` would be heard now."""
        return (
            self.server is not None
            and self.server.host.alive
            and not self.server.host.paused
            and worker not in self.unreachable
        )

    @contextlib.asynccontextmanager
    async def dial(self, worker: WorkerId, host: Host) -> AsyncIterator["ControlStream"]:
        """Open a control stream to whoever serves."""
        await self._travel()
        if not self.reaches(worker):
            raise _rpc_error(grpc.StatusCode.UNAVAILABLE, "nobody answers")
        server = self.server
        assert server is not None
        stream = ControlStream(self, worker, host, server.host)
        self.streams.append(stream)
        stream.serving = server.host.run(server.connect(stream))
        try:
            yield stream
        finally:
            stream.cut()

    def cut(self, host: Host | None = None, worker: WorkerId | None = None) -> None:
        """Break the streams of a host, or of a worker."""
        for stream in [s for s in self.streams if host in s.hosts or worker == s.worker]:
            stream.cut()

    async def call(self, worker: WorkerId, make: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """Ask the server that answers now.

        Raises:
            NoAnswerError: no answer came.
            ProtocolError: the server refused.
        """
        await self._travel()
        if not self.reaches(worker):
            raise NoAnswerError
        assert self.server is not None
        task = self.server.host.run(make(self.server))
        await asyncio.wait((task,))
        await self._travel()
        if task.cancelled() or self.rng.random() < self.cuts:
            raise NoAnswerError
        if isinstance(e := task.exception(), ProtocolError):
            raise e
        if e is not None:
            if not isinstance(e, Killed | CrosscloudError | grpc.RpcError):
                failed = {"message": "a call failed", "exception": e}
                asyncio.get_running_loop().call_exception_handler(failed)
            raise NoAnswerError
        answer: T = task.result()
        return answer

    async def _travel(self) -> None:
        await asyncio.sleep(self.rng.uniform(*self.latency_s))


class ControlStream:
    """One stream; the worker's end is what `services.worker.link` takes for a gRPC call."""

    serving: asyncio.Task[Any]

    def __init__(self, network: Network, worker: WorkerId, host: Host, server: Host) -> None:
        self.worker = worker
        self.hosts = (host, server)
        self._network = network
        self._up: asyncio.Queue[session_pb2.ConnectRequest | None] = asyncio.Queue()
        self._down: asyncio.Queue[session_pb2.ConnectResponse | Exception | None] = asyncio.Queue()
        self._last_s = {id(self._up): 0.0, id(self._down): 0.0}
        self._is_cut = False
        self._boot = ""

    # The worker's end

    async def read(self) -> Any:
        """Return the next message, `_END` after the last; raise what broke the stream."""
        message = await self._down.get()
        if isinstance(message, Exception):
            raise message
        return _END if message is None else message

    async def write(self, message: session_pb2.ConnectRequest) -> None:
        """Send; all but the messages of which there is always one are acts."""
        kind = message.WhichOneof("message")
        if kind == "join":
            self._boot = message.join.boot
        elif kind != "heartbeat":
            happens(f"say {kind}")
        self._network.heard(self.worker, self._boot, message)
        self._deliver(self._up, message)

    # The coordinator's end

    async def requests(self) -> AsyncIterator[session_pb2.ConnectRequest]:
        """Yield what the worker sends."""
        while (message := await self._up.get()) is not None:
            yield message

    def send(self, message: session_pb2.ConnectResponse) -> None:
        """Send to the worker."""
        self._network.said(self.worker, message)
        for listener in self._network.listeners:
            listener.heard(message)
        liar = self._network.liars.get(self.worker)
        for told in (message,) if liar is None else liar.told(message):
            self._deliver(self._down, told)

    def end(self, error: BaseException | None) -> None:
        """The coordinator's handler returned, or raised."""
        if isinstance(error, Killed | asyncio.CancelledError):
            self.cut()
        elif error is None:
            self._deliver(self._down, None)
        else:
            code = status_of(error) if isinstance(error, CrosscloudError) else None
            self._deliver(self._down, _rpc_error(code or grpc.StatusCode.UNKNOWN, str(error)))

    # Between them

    def cut(self) -> None:
        """Break: what is under way is lost, and both ends learn of it in their own time."""
        if self._is_cut:
            return
        self._is_cut = True
        self._network.streams.remove(self)
        loop, rng = asyncio.get_running_loop(), self._network.rng
        broken = _rpc_error(grpc.StatusCode.UNAVAILABLE, "the stream broke")
        loop.call_later(
            rng.uniform(*_NOTICED_S), self._down.put_nowait, broken, context=NOBODY.copy()
        )
        loop.call_later(rng.uniform(*_NOTICED_S), self.serving.cancel, context=NOBODY.copy())

    def _deliver(self, queue: asyncio.Queue[Any], message: Any) -> None:
        if self._is_cut:
            return
        loop, rng = asyncio.get_running_loop(), self._network.rng
        times = 1 + (message is not None and rng.random() < self._network.duplicates)
        for _ in range(times):
            arrives_s = loop.time() + rng.uniform(*self._network.latency_s)
            arrives_s = self._last_s[id(queue)] = max(arrives_s, self._last_s[id(queue)] + 1e-5)
            loop.call_at(arrives_s, self._arrive, queue, message, context=NOBODY.copy())

    def _arrive(self, queue: asyncio.Queue[Any], message: Any) -> None:
        if not self._is_cut:
            queue.put_nowait(message)


def _rpc_error(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, nothing, nothing, details, None)
