"""Between the wire's messages and what a worker says and hears in a round."""

import logging
from collections.abc import Mapping

from common import canonical
from common.documents import Answer, Attestation, Offer, Plan
from common.errors import MalformedDocumentError
from common.ids import RoundId, WorkerId
from protos.v1 import session_pb2
from worker.rounds.attempt import RevealedShares
from worker.rounds.round import RefusedError

log = logging.getLogger(__name__)


def offer_request(offer: Offer) -> session_pb2.ConnectRequest:
    """Return the message that offers."""
    submit = session_pb2.SubmitOffer(offer=canonical.encode(offer))
    return session_pb2.ConnectRequest(offer=submit)


def answer_request(
    round_id: RoundId, answer: Answer, sealed: Mapping[WorkerId, bytes]
) -> session_pb2.ConnectRequest:
    """Return the message that answers a plan."""
    submit = session_pb2.SubmitAnswer(
        round_id=bytes.fromhex(round_id),
        answer=canonical.encode(answer),
        sealed={str(w): content for w, content in sealed.items()},
    )
    return session_pb2.ConnectRequest(answer=submit)


def refuse_request(e: RefusedError) -> session_pb2.ConnectRequest:
    """Return the message that refuses."""
    refuse = session_pb2.Refuse(round_id=bytes.fromhex(e.round), rule=e.rule, sentence=e.sentence)
    return session_pb2.ConnectRequest(refuse=refuse)


def signature_request(round_id: bytes, signature: bytes) -> session_pb2.ConnectRequest:
    """Return the message that signs the survivors."""
    submit = session_pb2.SubmitSignature(round_id=round_id, signature=signature)
    return session_pb2.ConnectRequest(signature=submit)


def shares_request(round_id: RoundId, revealed: RevealedShares) -> session_pb2.ConnectRequest:
    """Return the message that reveals."""
    shares = {str(w): session_pb2.Share(own=share) for w, share in revealed.own.items()}
    shares |= {str(w): session_pb2.Share(mask=share) for w, share in revealed.mask.items()}
    submit = session_pb2.SubmitShares(round_id=bytes.fromhex(round_id), shares=shares)
    return session_pb2.ConnectRequest(shares=submit)


def abandon_request(round_id: bytes, signature: bytes) -> session_pb2.ConnectRequest:
    """Return the message that promises never to reveal."""
    abandon = session_pb2.Abandon(round_id=round_id, signature=signature)
    return session_pb2.ConnectRequest(abandon=abandon)


def attest_request(attestation: Attestation) -> session_pb2.ConnectRequest:
    """Return the message that attests a version."""
    attest = session_pb2.Attest(attestation=canonical.encode(attestation))
    return session_pb2.ConnectRequest(attest=attest)


def plan_of(content: bytes) -> Plan | None:
    """Return the plan; None where it is none: nor is there a round then that could be refused."""
    try:
        return canonical.decode(content, Plan)
    except MalformedDocumentError as e:
        log.warning("no such plan: %s", e)
        return None


def members_of(
    message: session_pb2.Members,
) -> tuple[RoundId, dict[WorkerId, Answer], dict[WorkerId, bytes]]:
    """Return the round, the answers of U2, and what each other member sealed for this one.

    Raises:
        MalformedDocumentError: an answer cannot be read.
    """
    answers = {WorkerId(w): canonical.decode(a, Answer) for w, a in message.answers.items()}
    sealed = {WorkerId(w): content for w, content in message.sealed.items()}
    return RoundId(message.round_id.hex()), answers, sealed
