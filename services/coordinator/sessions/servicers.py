"""The control port: sessions of workers, the evaluator's reports, operators' commands.

Servicers only translate: who is it (mTLS), what does it say (`convert`), what the core makes
of it (`Driver.feed`). Errors become statuses in `services/wire/status.py`; in an open session a
refused message is answered with `Rejected` and changes nothing.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any

import grpc
from google.protobuf.message import Message
from typing_extensions import override

from common import canonical
from common.documents import Evaluation, RollbackOrder
from common.errors import (
    BusyError,
    CrosscloudError,
    IncompatibleError,
    MalformedDocumentError,
    NotAMemberError,
    ProtocolError,
    UnexpectedMessageError,
    UnknownFileError,
    UnknownRoundError,
)
from common.ids import Digest, SessionId, WorkerId
from common.secagg.transcript import certificate_der
from coordinator.ports import (
    Command,
    Disconnected,
    Effect,
    Evaluated,
    Finish,
    Joined,
    NotRolledBack,
    Operated,
    Publish,
    RollbackAsked,
)
from protos.v1 import operator_pb2, operator_pb2_grpc, session_pb2, session_pb2_grpc
from services.coordinator.driver import Driver
from services.coordinator.kept.retention import Retention
from services.coordinator.sessions import convert
from services.coordinator.sessions.admission import Admission
from services.coordinator.sessions.streams import (
    MAX_WAITING,
    RECONNECT_AFTER_S,
    LogTail,
    Session,
    Sessions,
    StreamQuota,
)
from services.coordinator.watch.reports import Reports
from services.coordinator.watch.status import StatusSource
from services.trust.genuine import Genuine
from services.trust.identity import Identity, MemberList, Role, certificate_end_s, identity_of
from services.wire.status import abort
from services.wire.traffic import Direction, both_ways

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Moved = Callable[[str, Direction, str, int], None]
"""Bytes on the wire went to or came from a name, in its direction, of a kind."""


def nowhere(*_: object) -> None:
    """Nobody counts."""


class SessionService(session_pb2_grpc.SessionServicer):
    """Workers' control streams and the log."""

    def __init__(
        self,
        driver: Driver,
        *,
        admission: Admission,
        members: MemberList,
        sessions: Sessions,
        reports: Reports,
        tail: LogTail,
        heartbeat_interval_s: float,
        lease_s: float,
        quota: StreamQuota | None = None,
        moved: Moved = nowhere,
    ) -> None:
        self._moved = moved
        self._quota = quota or StreamQuota()
        self._driver = driver
        self._admission = admission
        self._members = members
        self._sessions = sessions
        self._reports = reports
        self._tail = tail
        self._heartbeat_interval_s = heartbeat_interval_s
        self._lease_s = lease_s
        self._telling: set[asyncio.Task[None]] = set()

    @override
    async def Connect(
        self, request_iterator: AsyncIterator[session_pb2.ConnectRequest], context: Context
    ) -> AsyncIterator[session_pb2.ConnectResponse]:
        """See protos/v1/session.proto."""
        identity = self._members.admit(identity_of(context), Role.WORKER)
        worker = WorkerId(identity.name)
        with self._quota.entered(worker):
            async with contextlib.aclosing(
                self._connected(worker, identity.organisation, request_iterator, context)
            ) as responses:
                async for response in responses:
                    self._count(worker, "received", response)
                    yield response

    async def _connected(
        self,
        worker: WorkerId,
        organisation: str,
        request_iterator: AsyncIterator[session_pb2.ConnectRequest],
        context: Context,
    ) -> AsyncGenerator[session_pb2.ConnectResponse]:
        first = await anext(request_iterator, session_pb2.ConnectRequest())
        if (kind := first.WhichOneof("message")) != "join":
            raise UnexpectedMessageError(f"expected join, got {kind or 'an empty message'}")
        join = first.join
        self._count(worker, "sent", first)
        self._admission.check(join)

        has_first = join.has_version and join.version == 0
        start_seq = self._tail.first_start_seq if has_first else self._tail.start_seq
        next_seq = join.next_seq if join.HasField("next_seq") else start_seq + 1
        self._tail.check_seen(next_seq, worker)
        handling = asyncio.current_task()
        assert handling is not None

        def overrun() -> None:
            reader.cancel()
            self._sessions.discard(session.id)
            self._let_go(worker, context, handling)

        session = Session(SessionId(secrets.token_hex(8)), worker, next_seq, overrun)
        # No await from here to the registration: records appended meanwhile must not be missed.
        self._sessions.add(session)
        self._reports.joined(worker, join.boot, certificate_end_s(context))
        reader = asyncio.create_task(self._read(session, organisation, request_iterator, join))
        reader.add_done_callback(lambda _: session.end())
        try:
            yield self._welcome(start_seq)
            async for response in session.outgoing(self._tail):
                yield response
            if reader.done():
                reader.result()
        finally:
            reader.cancel()
            self._sessions.discard(session.id)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(self._driver.feed(Disconnected(session.id)))

    def _let_go(self, worker: WorkerId, context: Context, handling: asyncio.Task[Any]) -> None:
        """End the stream of a worker that reads too slowly, or not at all.

        Its handler may be in a write that never ends, and gRPC sends no status where a handler is
        cancelled: so the status goes out beside it, and arrives where the worker ever reads.
        """
        slow = BusyError(
            f"over {MAX_WAITING} messages wait on the stream of {worker}: it reads too slowly; "
            "dial again",
            RECONNECT_AFTER_S,
        )
        log.warning("let go: %s", slow, extra={"worker": worker})
        telling = asyncio.create_task(abort(slow, context))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)
        handling.cancel()

    def _welcome(self, start_seq: int) -> session_pb2.ConnectResponse:
        welcome = session_pb2.Welcome(
            start_record=self._tail.read(start_seq),
            heartbeat_interval_ms=round(self._heartbeat_interval_s * 1000),
            lease_ms=round(self._lease_s * 1000),
            num_records=self._tail.num_records,
        )
        return session_pb2.ConnectResponse(welcome=welcome)

    async def _read(
        self,
        session: Session,
        organisation: str,
        requests: AsyncIterator[session_pb2.ConnectRequest],
        join: session_pb2.Join,
    ) -> None:
        joined = Joined(
            session.worker, session.id, join.boot, join.version, join.speed, organisation
        )
        await self._driver.feed(joined)
        async for request in requests:
            self._count(session.worker, "sent", request)
            try:
                await self._receive(session, request)
            except ProtocolError as e:
                late = isinstance(e, UnknownRoundError)
                level, what = (logging.INFO, "late") if late else (logging.WARNING, "refused")
                about = {"worker": session.worker}
                log.log(level, "%s from %s: %s", what, session.worker, e, extra=about)
                rejected = session_pb2.Rejected(error=type(e).__name__, sentence=str(e))
                session.send(session_pb2.ConnectResponse(rejected=rejected))

    async def _receive(self, session: Session, request: session_pb2.ConnectRequest) -> None:
        event = convert.event_of(session.id, request)
        if request.WhichOneof("message") == "heartbeat":
            self._reports.heard(session.worker, request.heartbeat)
        await self._driver.feed(event)

    @override
    async def WatchLog(
        self, request: session_pb2.WatchLogRequest, context: Context
    ) -> AsyncIterator[session_pb2.WatchLogResponse]:
        """See protos/v1/session.proto."""
        roles = (Role.WORKER, Role.EVALUATOR, Role.OPERATOR)
        identity = self._members.admit(identity_of(context), *roles)
        from_seq = request.from_seq if request.HasField("from_seq") else self._tail.start_seq
        self._tail.check_seen(from_seq, "the caller")
        with self._quota.entered(identity.name):
            if not request.follow:
                for seq in range(from_seq, self._tail.num_records):
                    yield self._entry(identity.name, self._tail.read(seq))
                return
            async for record in self._tail.follow(from_seq):
                yield self._entry(identity.name, record)

    def _entry(self, name: str, record: bytes) -> session_pb2.WatchLogResponse:
        entry = session_pb2.WatchLogResponse(record=record)
        self._count(name, "received", entry)
        return entry

    def _count(self, name: str, direction: Direction, message: Message) -> None:
        for way, num_bytes in both_ways(direction, message.ByteSize()):
            self._moved(name, way, "control", num_bytes)

    @override
    async def ReportEvaluation(
        self, request: session_pb2.ReportEvaluationRequest, context: Context
    ) -> session_pb2.ReportEvaluationResponse:
        """See protos/v1/session.proto."""
        self._members.admit(identity_of(context), Role.EVALUATOR)
        evaluation = canonical.decode(request.evaluation, Evaluation)
        if not 0 <= evaluation.accuracy <= 1 or evaluation.loss < 0:
            raise MalformedDocumentError(
                f"evaluation: accuracy {evaluation.accuracy} must be from 0 to 1 and loss "
                f"{evaluation.loss} at least 0"
            )
        await self._driver.feed(Evaluated(evaluation))
        return session_pb2.ReportEvaluationResponse()


class OperatorService(operator_pb2_grpc.OperatorServicer):
    """What people ask and command."""

    def __init__(
        self,
        driver: Driver,
        *,
        genesis: Digest,
        members: MemberList,
        genuine: Genuine,
        status: StatusSource,
        retention: Retention,
    ) -> None:
        self._driver = driver
        self._genesis = genesis
        self._members = members
        self._genuine = genuine
        self._status = status
        self._retention = retention

    @override
    async def GetStatus(
        self, request: operator_pb2.GetStatusRequest, context: Context
    ) -> operator_pb2.GetStatusResponse:
        """See protos/v1/operator.proto."""
        self._members.admit(identity_of(context), Role.OPERATOR)
        return self._status.read()

    @override
    async def Pause(
        self, request: operator_pb2.PauseRequest, context: Context
    ) -> operator_pb2.PauseResponse:
        """See protos/v1/operator.proto."""
        await self._operate(Command.PAUSE, context)
        return operator_pb2.PauseResponse()

    @override
    async def Resume(
        self, request: operator_pb2.ResumeRequest, context: Context
    ) -> operator_pb2.ResumeResponse:
        """See protos/v1/operator.proto."""
        await self._operate(Command.RESUME, context)
        return operator_pb2.ResumeResponse()

    @override
    async def Stop(
        self, request: operator_pb2.StopRequest, context: Context
    ) -> operator_pb2.StopResponse:
        """See protos/v1/operator.proto."""
        operator = self._members.admit(identity_of(context), Role.OPERATOR)
        stop = Operated(Command.STOP, by=operator.name)
        await self._driver.feed_until(stop, lambda effect: isinstance(effect, Finish))
        return operator_pb2.StopResponse()

    @override
    async def Rollback(
        self, request: operator_pb2.RollbackRequest, context: Context
    ) -> operator_pb2.RollbackResponse:
        """See protos/v1/operator.proto."""
        operator = self._members.admit(identity_of(context), Role.OPERATOR)
        with _refusal_told(request.version, operator.name):
            await self._roll_back(request, operator)
        return operator_pb2.RollbackResponse()

    async def _roll_back(self, request: operator_pb2.RollbackRequest, operator: Identity) -> None:
        digest = self._retention.digest_of(request.version)
        order = canonical.decode(request.order, RollbackOrder) if request.order else None
        if order is not None:
            signer, _ = self._genuine(certificate_der(order.certificate, operator.name))
            if signer != operator:
                raise NotAMemberError(
                    f"{operator.name} signs with the certificate of {signer.name}"
                )
            if order.digest != digest:
                raise IncompatibleError(
                    f"the order is for a version {order.version} of digest {order.digest[:16]}...,"
                    f" this log's is {digest[:16]}...: ask for it again"
                )
        asked = RollbackAsked(request.version, operator.name, order)
        end = await self._driver.feed_until(asked, _ends_rollback)
        if isinstance(end, NotRolledBack):
            raise UnknownFileError(f"version {end.version} does not return: {end.detail}")

    @override
    async def GetVersion(
        self, request: operator_pb2.GetVersionRequest, context: Context
    ) -> operator_pb2.GetVersionResponse:
        """See protos/v1/operator.proto."""
        operator = self._members.admit(identity_of(context), Role.OPERATOR)
        with _refusal_told(request.version, operator.name):  # a roll-back's first question
            digest = self._retention.digest_of(request.version)
        return operator_pb2.GetVersionResponse(
            digest=bytes.fromhex(digest), genesis=bytes.fromhex(self._genesis)
        )

    async def _operate(self, command: Command, context: Context) -> None:
        operator = self._members.admit(identity_of(context), Role.OPERATOR)
        await self._driver.feed(Operated(command, by=operator.name))


@contextlib.contextmanager
def _refusal_told(version: int, by: str) -> Iterator[None]:
    """Have the log say that a roll-back was refused, to whom, and why."""
    try:
        yield
    except CrosscloudError as e:
        log.warning("not rolled back: version %d, which %s asked for: %s", version, by, e)
        raise


def _ends_rollback(effect: Effect) -> bool:
    """One is under way at a time: the next record, or refusal, is of the one that was asked for."""
    if isinstance(effect, Publish):
        return effect.record.rollback is not None
    return isinstance(effect, NotRolledBack)
