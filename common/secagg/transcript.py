"""Which bytes of a round are hashed and signed: all masks rest on one transcript.

    ph  = SHA-256(plan)                           what is sealed or signed is bound to it
    ctx = SHA-256(ph, U2, answers of U2)          every mask is bound to it

Documents have one canonical form (`common/canonical.py`), so their bytes need not be carried along.
A signature covers its document without the field that holds it.
"""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import replace

from common import canonical
from common.documents import Answer, Attestation, Offer, Plan
from common.errors import BadUpdateError
from common.ids import WorkerId
from common.secagg.labels import digest, fields
from common.secagg.signatures import IdentityPublicKey, certified_key


def plan_hash(plan: Plan) -> bytes:
    """Return ph, 32 bytes."""
    return bytes.fromhex(canonical.digest(plan))


def context(plan: Plan, answers: Mapping[WorkerId, Answer]) -> bytes:
    """Return ctx, 32 bytes.

    Args:
        answers: of U2.
    """
    parts = [plan_hash(plan)]
    for worker in sorted(answers):
        parts += [worker.encode("ascii"), canonical.encode(answers[worker])]
    return digest("context", *parts)


def offer_content(offer: Offer) -> bytes:
    """Return what an offer's signature covers."""
    return canonical.encode(replace(offer, signature=None))


def answer_content(answer: Answer) -> bytes:
    """Return what an answer's signature covers."""
    return canonical.encode(replace(answer, signature=None))


def attestation_content(attestation: Attestation) -> bytes:
    """Return what an attestation's signature covers."""
    return canonical.encode(replace(attestation, signature=None))


def list_content(plan: Plan, u2: tuple[WorkerId, ...], survivors: tuple[WorkerId, ...]) -> bytes:
    """Return what a survivor signs: (ph, U2, S), both sorted."""
    return fields(plan_hash(plan), _names(u2), _names(survivors))


def abandon_content(plan: Plan) -> bytes:
    """Return what a member signs that will never reveal a share."""
    return plan_hash(plan)


def key_of(plan: Plan, worker: WorkerId) -> IdentityPublicKey:
    """Return the key that a member of a masked plan signs with.

    Raises:
        BadUpdateError: its offer holds none.
    """
    for offer in plan.offers:
        if offer.worker == worker and offer.keys is not None:
            return certified_key(certificate_der(offer.keys.certificate, worker))
    raise BadUpdateError(f"the plan holds no keys of {worker}")


def certificate_der(encoded: str, worker: WorkerId) -> bytes:
    """Return a certificate's bytes.

    Raises:
        BadUpdateError: not base64.
    """
    try:
        return b64decode(encoded, validate=True)
    except ValueError:
        raise BadUpdateError(f"{worker}: its certificate is not base64") from None


def _names(names: tuple[WorkerId, ...]) -> bytes:
    return fields(*(name.encode("ascii") for name in names))
