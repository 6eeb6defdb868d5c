"""The control stream as a worker keeps it: dial, join, beat, hand messages over, dial again.

The worker always dials. A stream that breaks is opened again after a growing, jittered pause; a
stream that the coordinator refuses (not a member, another model, an older protocol) ends the
process, because trying again would change nothing. A coordinator that is busy or ends says when to
come back.

No heartbeat follows one without an answer, so none queue up behind a coordinator that waits for its
store. One that does not answer for as long as a lease is said to stall; the stream stays: whether
the connection lives is for its pings to find out.

After a stream's last message nothing is written to it any more, and after one that ends this
worker's part (`Drain`, `Replaced`) none is dialled: the inbox ends the process.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc

from common.errors import CrosscloudError
from protos.v1 import session_pb2, session_pb2_grpc
from services.config.renewed import Renewed
from services.process.exit_status import Exit
from services.wire.backoff import RetryBackoff
from services.wire.channels import OPTIONS, Options, to
from services.wire.credentials import explain_rpc_error, is_break
from services.wire.status import error_of, retry_after_s
from services.wire.traffic import TrafficCounts

log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.3
_LONGEST_PAUSE_S: Final = 15.0
_SHORTEST_HEARTBEAT_S: Final = 0.1
"""Between two heartbeats, whatever a Welcome says: none without a pause."""
_MADE_HERE: Final = "Internal error from Core"
"""What grpc.aio says of a stream that ended while it wrote: its real status is then lost."""
Message = session_pb2.ConnectResponse
Call = Any  # grpc.aio.StreamStreamCall; the stubs know only its iterator form


Dial = Callable[[], contextlib.AbstractAsyncContextManager[Call]]


def dialler(
    target: str, credentials: Callable[[], grpc.ChannelCredentials], options: Options = OPTIONS
) -> Dial:
    """Return what opens a control stream to `target`.

    Args:
        credentials: mTLS, asked for before each stream: certificates are renewed meanwhile.
    """

    @contextlib.asynccontextmanager
    async def dial() -> AsyncIterator[Call]:
        async with grpc.aio.secure_channel(target, credentials(), to(target, options)) as channel:
            connect: Any = session_pb2_grpc.SessionStub(channel).Connect
            yield connect()

    return dial


class EndedError(CrosscloudError):
    """This worker's part is over; the message says why.

    Args:
        status: of the process.
    """

    def __init__(self, sentence: str, status: Exit) -> None:
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
        own: what `dial` shows of us, to be looked at where it fails.
        tally: where bytes are counted, as "control".
    """

    def __init__(
        self,
        target: str,
        dial: Dial,
        *,
        join: Callable[[], session_pb2.Join],
        heartbeat: Callable[[], session_pb2.Heartbeat],
        inbox: Callable[[Message | None], None],
        own: Renewed[grpc.ChannelCredentials] | None = None,
        tally: TrafficCounts | None = None,
    ) -> None:
        self._tally = tally or TrafficCounts()
        self._target = target
        self._dial = dial
        self._join = join
        self._heartbeat = heartbeat
        self._inbox = inbox
        self._own = own
        self._outgoing: asyncio.Queue[session_pb2.ConnectRequest] | None = None
        self._welcomed = False
        self._over = False
        self._asked_s: float | None = None  # when the heartbeat left that has no answer yet
        self._stalled = False
        self._come_back_s: float | None = None

    def send(self, message: session_pb2.ConnectRequest) -> None:
        """Queue a message; without an open stream it is dropped: a new stream begins anew."""
        if self._outgoing is not None:
            self._outgoing.put_nowait(message)

    def redial(self) -> None:
        """End the stream at the next message, and open another with a new Join."""
        self._over = True

    async def run(self) -> None:
        """Keep a stream open for ever.

        Raises:
            EndedError: the coordinator refuses this worker for good.
        """
        backoff = RetryBackoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        while True:
            self._welcomed, self._over, self._come_back_s = False, False, None
            try:
                if not await self._stream():
                    await asyncio.get_running_loop().create_future()
                log.info("the stream ended")
            except grpc.aio.AioRpcError as e:
                if (refusal := error_of(e)) is not None:
                    raise EndedError(f"the coordinator refuses: {refusal}", Exit.FAILED) from None
                self._come_back_s = retry_after_s(e) or self._come_back_s
                if (e.code(), e.details()) == (grpc.StatusCode.INTERNAL, _MADE_HERE):
                    log.info("the stream ended while something was on its way")
                elif self._welcomed and is_break(e):
                    log.warning("the connection to %s broke; dialling again", self._target)
                else:
                    why = explain_rpc_error(e, self._target, self._own)
                    log.warning("no stream to %s: %s", self._target, why)
            self._inbox(None)
            if self._welcomed:
                backoff.reset()
            await asyncio.sleep(backoff.wait_s(self._come_back_s))

    async def leave(self, reason: str) -> None:
        """Say good-bye, if there is anyone to say it to."""
        if self._outgoing is not None:
            self.send(session_pb2.ConnectRequest(leave=session_pb2.Leave(reason=reason)))
            await asyncio.wait((asyncio.create_task(self._outgoing.join()),), timeout=1.0)

    async def _stream(self) -> bool:
        """Keep one stream until it ends; return whether another is to be opened."""
        async with self._dial() as call:
            self._outgoing = asyncio.Queue()
            self.send(session_pb2.ConnectRequest(join=self._join()))
            writing = asyncio.create_task(self._write(call, self._outgoing))
            beating: asyncio.Task[None] | None = None
            try:
                while isinstance(message := await call.read(), Message) and not self._over:
                    self._tally.message("received", "control", message.ByteSize())
                    kind = message.WhichOneof("message")
                    match kind:
                        case "welcome" if beating is not None:
                            log.warning("%s sent a second Welcome: dialling again", self._target)
                            return True
                        case "welcome":
                            self._welcomed = True
                            beating = asyncio.create_task(self._beat(message.welcome))
                        case "pace" | "rejected":
                            self._answered()
                        case "reconnect" | "drain" | "replaced":
                            self._outgoing = None
                    if kind == "reconnect":
                        self._come_back_s = message.reconnect.after_ms / 1000
                        continue
                    self._inbox(message)
                    if kind in ("drain", "replaced"):
                        return False
                return True
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
            if self._outgoing is outgoing:
                await call.write(message)
                self._tally.message("sent", "control", message.ByteSize())
            outgoing.task_done()

    async def _beat(self, welcome: session_pb2.Welcome) -> None:
        lease_s, now_s = welcome.lease_ms / 1000, asyncio.get_running_loop().time
        every_s = max(welcome.heartbeat_interval_ms / 1000, _SHORTEST_HEARTBEAT_S)
        self._asked_s, self._stalled = None, False
        while True:
            if self._asked_s is not None and now_s() - self._asked_s > lease_s > 0:
                if not self._stalled:
                    log.warning("no answer from the coordinator for %.0f s: it stalls", lease_s)
                self._stalled, self._asked_s = True, None  # ask again, once per lease
            if self._asked_s is None:
                self._asked_s = now_s()
                self.send(session_pb2.ConnectRequest(heartbeat=self._heartbeat()))
            await asyncio.sleep(every_s)

    def _answered(self) -> None:
        if self._stalled:
            log.info("the coordinator answers again")
        self._asked_s, self._stalled = None, False
