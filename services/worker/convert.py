"""Between the wire's messages and what a worker hears and says."""

from typing import assert_never

from common import canonical
from common.documents import Answer, Attestation, Offer, Plan, Record
from common.ids import RoundId, WorkerId
from protos.v1 import session_pb2
from worker.rounds.ports import (
    Abandon,
    Attested,
    Ended,
    Event,
    Message,
    Named,
    Paced,
    Planned,
    Recorded,
    Refuse,
    Signed,
    SubmitAnswer,
    SubmitShares,
    SubmitSignature,
    Survived,
    Welcomed,
)
from worker.rounds.tier import RevealedShares


def request_of(message: Message) -> session_pb2.ConnectRequest:
    """Return a message as it travels."""
    request = session_pb2.ConnectRequest
    match message:
        case Offer():
            return request(offer=session_pb2.SubmitOffer(offer=canonical.encode(message)))
        case SubmitAnswer():
            answer = session_pb2.SubmitAnswer(
                round_id=bytes.fromhex(message.round),
                answer=canonical.encode(message.answer),
                sealed={str(w): content for w, content in message.sealed.items()},
            )
            return request(answer=answer)
        case Refuse(round=round_id, rule=rule, sentence=sentence):
            refuse = session_pb2.Refuse(
                round_id=bytes.fromhex(round_id), rule=rule, sentence=sentence
            )
            return request(refuse=refuse)
        case SubmitSignature(round=round_id, signature=signature):
            submit = session_pb2.SubmitSignature(
                round_id=bytes.fromhex(round_id), signature=signature
            )
            return request(signature=submit)
        case SubmitShares(round=round_id, revealed=revealed):
            shares = session_pb2.SubmitShares(
                round_id=bytes.fromhex(round_id), shares=_shares(revealed)
            )
            return request(shares=shares)
        case Abandon(round=round_id, signature=signature):
            abandon = session_pb2.Abandon(round_id=bytes.fromhex(round_id), signature=signature)
            return request(abandon=abandon)
        case Attestation():
            return request(attest=session_pb2.Attest(attestation=canonical.encode(message)))
        case _:
            assert_never(message)


def _shares(revealed: RevealedShares) -> dict[str, session_pb2.Share]:
    shares = {str(w): session_pb2.Share(own=share) for w, share in revealed.own.items()}
    return shares | {str(w): session_pb2.Share(mask=share) for w, share in revealed.mask.items()}


def event_of(message: session_pb2.ConnectResponse) -> Event | None:
    """Return what a message says; None where it is not a worker's to decide about.

    Raises:
        MalformedDocumentError: a document in it cannot be read.
    """
    match message.WhichOneof("message"):
        case "welcome":
            told = message.welcome
            return Welcomed(canonical.decode(told.start_record, Record), told.num_records)
        case "pace":
            pace = message.pace
            return Paced(pace.local_steps, pace.paused, pace.void_offer)
        case "plan":
            return Planned(canonical.decode(message.plan.plan, Plan))
        case "members":
            named = message.members
            answers = named.answers.items()
            return Named(
                RoundId(named.round_id.hex()),
                {WorkerId(w): canonical.decode(answer, Answer) for w, answer in answers},
                {WorkerId(w): content for w, content in named.sealed.items()},
            )
        case "survivors":
            survived = message.survivors
            survivors = tuple(WorkerId(w) for w in survived.survivors)
            return Survived(RoundId(survived.round_id.hex()), survivors)
        case "signatures":
            signed = message.signatures
            signatures = {WorkerId(w): content for w, content in signed.signatures.items()}
            return Signed(RoundId(signed.round_id.hex()), signatures)
        case "end":
            return Ended(RoundId(message.end.round_id.hex()))
        case "attested":
            return Attested(canonical.decode(message.attested.attestation, Attestation))
        case "outcome":
            return Recorded(canonical.decode(message.outcome.record, Record))
    return None
