"""The control stream as a worker keeps it: dial, join, beat, hand messages over, dial again.

The worker always dials. A stream that breaks is opened again after a growing, jittered pause; a
stream that the coordinator refuses (not a member, another model, an older protocol) ends the
process, because trying again would change nothing.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc

from common.errors import CrosscloudError
from protos.v1 import session_pb2, session_pb2_grpc
from services.channels import OPTIONS
from services.grpc_status import error_of
from services.tls import explain_rpc_error

log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.3
_LONGEST_PAUSE_S: Final = 15.0
Message = session_pb2.ConnectResponse
Call = Any  # grpc.aio.StreamStreamCall; the stubs know only its iterator form


Dial = Callable[[], contextlib.AbstractAsyncContextManager[Call]]


def dialler(target: str, credentials: Callable[[], grpc.ChannelCredentials]) -> Dial:
    """Return what opens a control stream to `target`.

    Args:
        credentials: mTLS, asked for before each stream: certificates are renewed meanwhile.
    """

    @contextlib.asynccontextmanager
    async def dial() -> AsyncIterator[Call]:
        async with grpc.aio.secure_channel(target, credentials(), OPTIONS) as channel:
            connect: Any = session_pb2_grpc.SessionStub(channel).Connect
            yield connect()

    return dial


class EndedError(CrosscloudError):
    """This worker's part is over; the message says why.

    Args:
        status: exit status for the process: 0 where the run is over.
    """

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class Link:
    """See the module docstring.

    Args:
        target: host:port of the control port.
        dial: opens a control stream; `dialler` for gRPC.
        join: makes the first message of each stream.
        heartbeat: makes a heartbeat.
        inbox: where received messages go; None = the stream broke.
    """

    def __init__(
        self,
        target: str,
        dial: Dial,
        *,
        join: Callable[[], session_pb2.Join],
        heartbeat: Callable[[], session_pb2.Heartbeat],
        inbox: Callable[[Message | None], None],
    ) -> None:
        self._target = target
        self._dial = dial
        self._join = join
        self._heartbeat = heartbeat
        self._inbox = inbox
        self._outgoing: asyncio.Queue[session_pb2.ConnectRequest] | None = None
        self._welcomed = False
        self.bytes_sent = 0
        self.bytes_received = 0

    def send(self, message: session_pb2.ConnectRequest) -> None:
        """Queue a message; without an open stream it is dropped: a new stream begins anew."""
        if self._outgoing is not None:
            self._outgoing.put_nowait(message)

    async def run(self) -> None:
        """Keep a stream open for ever.

        Raises:
            EndedError: the coordinator refuses this worker for good.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            self._welcomed = False
            try:
                await self._stream()
                log.info("the coordinator ended the stream")
            except grpc.aio.AioRpcError as e:
                if (refusal := error_of(e)) is not None:
                    raise EndedError(f"the coordinator refuses: {refusal}", status=1) from None
                log.warning("no stream to %s: %s", self._target, explain_rpc_error(e))
            self._inbox(None)
            if self._welcomed:
                pause_s = _FIRST_PAUSE_S
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def leave(self, reason: str) -> None:
        """Say good-bye, if there is anyone to say it to."""
        if self._outgoing is not None:
            self.send(session_pb2.ConnectRequest(leave=session_pb2.Leave(reason=reason)))
            await asyncio.wait((asyncio.create_task(self._outgoing.join()),), timeout=1.0)

    async def _stream(self) -> None:
        async with self._dial() as call:
            self._outgoing = asyncio.Queue()
            self.send(session_pb2.ConnectRequest(join=self._join()))
            writing = asyncio.create_task(self._write(call, self._outgoing))
            beating: asyncio.Task[None] | None = None
            try:
                while isinstance(message := await call.read(), Message):
                    self.bytes_received += message.ByteSize()
                    if message.WhichOneof("message") == "welcome":
                        self._welcomed = True
                        interval_s = message.welcome.heartbeat_interval_ms / 1000
                        beating = asyncio.create_task(self._beat(interval_s))
                    self._inbox(message)
            finally:
                self._outgoing = None
                writing.cancel()
                if beating is not None:
                    beating.cancel()

    async def _write(
        self,
        call: Call,
        outgoing: asyncio.Queue[session_pb2.ConnectRequest],
    ) -> None:
        while True:
            message = await outgoing.get()
            await call.write(message)
            self.bytes_sent += message.ByteSize()
            outgoing.task_done()

    async def _beat(self, interval_s: float) -> None:
        while True:
            self.send(session_pb2.ConnectRequest(heartbeat=self._heartbeat()))
            await asyncio.sleep(interval_s)
