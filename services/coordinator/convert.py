"""Between the wire's messages and the core's events and effects. Only this file knows both."""

from typing import assert_never

from common import canonical
from common.documents import Numbers, Offer, Plan
from common.errors import UnexpectedMessageError
from common.ids import RoundId, SessionId
from coordinator.ports import (
    Answered,
    Departed,
    Drain,
    Event,
    Heard,
    Members,
    Message,
    Offered,
    Pace,
    Refused,
    Replaced,
)
from protos.v1 import session_pb2


def event_of(session: SessionId, request: session_pb2.ConnectRequest) -> Event:
    """Return what a worker's message means to the core.

    Raises:
        UnexpectedMessageError: empty, or a second Join.
        MalformedDocumentError: a document inside cannot be read.
    """
    match request.WhichOneof("message"):
        case "heartbeat":
            h = request.heartbeat
            return Heard(session, h.speed, h.link_bps, h.version, h.pending_steps, h.offer_nonce)
        case "offer":
            return Offered(session, canonical.decode(request.offer.offer, Offer))
        case "numbers":
            numbers = canonical.decode(request.numbers.numbers, Numbers)
            return Answered(session, round_id(request.numbers.round_id), numbers)
        case "refuse":
            r = request.refuse
            return Refused(session, round_id(r.round_id), r.rule, r.sentence[:500])
        case "leave":
            return Departed(session, request.leave.reason[:500])
        case kind:
            raise UnexpectedMessageError(
                f"{kind or 'an empty message'} is not expected in an open session"
            )


def response_of(message: Message) -> session_pb2.ConnectResponse:
    """Return the wire's form of what the core sends."""
    match message:
        case Pace():
            pace = session_pb2.Pace(
                local_steps=message.local_steps,
                paused=message.paused,
                num_records=message.num_records,
                void_offer=message.void_offer,
            )
            return session_pb2.ConnectResponse(pace=pace)
        case Plan():
            plan = session_pb2.Plan(plan=canonical.encode(message))
            return session_pb2.ConnectResponse(plan=plan)
        case Members():
            numbers = {str(w): canonical.encode(n) for w, n in message.numbers.items()}
            members = session_pb2.Members(round_id=bytes.fromhex(message.round), numbers=numbers)
            return session_pb2.ConnectResponse(members=members)
        case Replaced():
            return session_pb2.ConnectResponse(replaced=session_pb2.Replaced())
        case Drain():
            drain = session_pb2.Drain(finished=message.finished, reason=message.reason)
            return session_pb2.ConnectResponse(drain=drain)
        case _:
            assert_never(message)


def is_last(message: Message) -> bool:
    """Return whether the stream ends after `message`."""
    return isinstance(message, Replaced | Drain)


def round_id(content: bytes) -> RoundId:
    """Return the id of a round from its 16 bytes.

    Raises:
        UnexpectedMessageError: another length.
    """
    if len(content) != 16:
        raise UnexpectedMessageError(f"round_id: expected 16 bytes, got {len(content)}")
    return RoundId(content.hex())
