"""Between the wire's messages and the core's events and effects. Only this file knows both."""

from collections.abc import Mapping
from typing import assert_never

from common import canonical
from common.documents import Answer, Attestation, Offer, Plan
from common.errors import UnexpectedMessageError
from common.ids import SessionId, WorkerId
from common.text import printable
from coordinator.ports import (
    Abandoned,
    Answered,
    Attested,
    Departed,
    Dismiss,
    End,
    Event,
    Heard,
    Listed,
    Members,
    Message,
    Offered,
    Pace,
    Refused,
    Replaced,
    Revealed,
    Signatures,
    Survivors,
)
from protos.v1 import session_pb2
from services.wire.framing import round_id


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
        case "answer":
            a = request.answer
            answer = canonical.decode(a.answer, Answer)
            return Answered(session, round_id(a.round_id), answer, _by_worker(a.sealed))
        case "signature":
            listed = request.signature
            return Listed(session, round_id(listed.round_id), listed.signature)
        case "shares":
            of = request.shares.shares
            own = {WorkerId(w): s.own for w, s in of.items() if s.WhichOneof("share") == "own"}
            mask = {WorkerId(w): s.mask for w, s in of.items() if s.WhichOneof("share") == "mask"}
            return Revealed(session, round_id(request.shares.round_id), own, mask)
        case "abandon":
            abandon = request.abandon
            return Abandoned(session, round_id(abandon.round_id), abandon.signature)
        case "attest":
            return Attested(session, canonical.decode(request.attest.attestation, Attestation))
        case "refuse":
            r = request.refuse
            return Refused(session, round_id(r.round_id), r.rule, printable(r.sentence[:500]))
        case "leave":
            return Departed(session, printable(request.leave.reason[:500]))
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
            members = session_pb2.Members(
                round_id=bytes.fromhex(message.round),
                answers={str(w): canonical.encode(a) for w, a in message.answers.items()},
                sealed={str(w): content for w, content in message.sealed.items()},
            )
            return session_pb2.ConnectResponse(members=members)
        case Survivors():
            survivors = session_pb2.Survivors(
                round_id=bytes.fromhex(message.round), survivors=message.survivors
            )
            return session_pb2.ConnectResponse(survivors=survivors)
        case Signatures():
            signatures = session_pb2.Signatures(
                round_id=bytes.fromhex(message.round),
                signatures={str(w): content for w, content in message.signatures.items()},
            )
            return session_pb2.ConnectResponse(signatures=signatures)
        case End():
            end = session_pb2.End(round_id=bytes.fromhex(message.round))
            return session_pb2.ConnectResponse(end=end)
        case Attestation():
            attested = session_pb2.Attest(attestation=canonical.encode(message))
            return session_pb2.ConnectResponse(attested=attested)
        case Replaced():
            return session_pb2.ConnectResponse(replaced=session_pb2.Replaced())
        case Dismiss():
            drain = session_pb2.Drain(finished=message.finished, reason=message.reason)
            return session_pb2.ConnectResponse(drain=drain)
        case _:
            assert_never(message)


def is_last(message: Message) -> bool:
    """Return whether the stream ends after `message`."""
    return isinstance(message, Replaced | Dismiss)


def _by_worker(values: Mapping[str, bytes]) -> dict[WorkerId, bytes]:
    return {WorkerId(worker): content for worker, content in values.items()}
