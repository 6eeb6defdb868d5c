"""Which bytes of a round are hashed and signed: all masks rest on one transcript.

    ph  = SHA-256(plan)                           what is sealed or signed is bound to it
    ctx = digest(ph, U2, answers of U2)           every mask is bound to it

Documents have one canonical form (`common/canonical.py`), so their bytes need not be carried along.
A signature covers its document without the field that holds it.
"""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import replace

from cryptography import x509

from common import canonical
from common.documents import Answer, Attestation, Offer, Plan, RollbackOrder
from common.errors import BadKeyError, BadSignatureError
from common.ids import WorkerId
from common.secagg import labels, signatures
from common.secagg.keys import EncPublicKey, MaskPublicKey
from common.secagg.labels import Context, PlanHash, SignedPurpose
from common.secagg.signatures import IdentityPublicKey, identity_public_key, verify


def plan_hash(plan: Plan) -> PlanHash:
    """Return ph."""
    return labels.plan_hash(canonical.encode(plan))


def context(plan: Plan, answers: Mapping[WorkerId, Answer]) -> Context:
    """Return ctx.

    Args:
        answers: of U2.
    """
    told = {str(worker): canonical.encode(answer) for worker, answer in answers.items()}
    return labels.context(plan_hash(plan), answers, told)


def signed_content(document: Offer | Answer | Attestation | RollbackOrder) -> bytes:
    """Return what the signature in a document covers."""
    return canonical.encode(replace(document, signature=None))


def list_content(plan: Plan, u2: tuple[WorkerId, ...], survivors: tuple[WorkerId, ...]) -> bytes:
    """Return what a survivor signs: the plan, U2 and S."""
    return signatures.list_content(plan_hash(plan), u2, survivors)


def abandon_content(plan: Plan) -> bytes:
    """Return what a member signs that will never reveal a share."""
    return plan_hash(plan)


def is_signed(
    key: IdentityPublicKey, purpose: SignedPurpose, content: bytes, signature: str | None
) -> bool:
    """Return whether a signature, hexadecimal, is there and true."""
    try:
        verify(key, purpose, content, bytes.fromhex(signature or ""))
    except (BadSignatureError, ValueError):
        return False
    return True


def check_keys(offer: Offer) -> None:
    """Refuse an offer that would only make the other members refuse its plan.

    Raises:
        BadKeyError: a key or the certificate is missing, or is none.
        BadSignatureError: the certificate's key has not signed it. Whose it is, is not asked.
    """
    EncPublicKey(_key(offer, "sealing"))
    MaskPublicKey(_key(offer, "masking"))
    key = _identity(offer)
    if not is_signed(key, "offer", signed_content(offer), offer.signature):
        raise BadSignatureError(f"{offer.worker}: the signature of its offer is wrong")


def enc_key_of(plan: Plan, worker: WorkerId) -> EncPublicKey:
    """Return what shares for a member are sealed with.

    Raises:
        BadKeyError: its offer holds no such key.
    """
    return EncPublicKey(_key(_offer_of(plan, worker), "sealing"))


def mask_key_of(plan: Plan, worker: WorkerId) -> MaskPublicKey:
    """Return the public half of a member's mask key.

    Raises:
        BadKeyError: its offer holds no such key.
    """
    return MaskPublicKey(_key(_offer_of(plan, worker), "masking"))


def identity_of(plan: Plan, worker: WorkerId) -> IdentityPublicKey:
    """Return the key that a member of a masked plan signs with.

    Raises:
        BadKeyError: its offer holds none.
    """
    return _identity(_offer_of(plan, worker))


def certificate_der(encoded: str, worker: str) -> bytes:
    """Return the bytes of the certificate of a worker, or of an operator.

    Raises:
        BadKeyError: not base64.
    """
    try:
        return b64decode(encoded, validate=True)
    except ValueError:
        raise BadKeyError(f"{worker}: its certificate is not base64") from None


def certified_key(der: bytes) -> IdentityPublicKey:
    """Return the key of a certificate. Whose it is, and whether that is true, is not asked.

    Raises:
        BadKeyError: no certificate, or a key of another kind.
    """
    try:
        return identity_public_key(x509.load_der_x509_certificate(der).public_key())
    except ValueError:
        raise BadKeyError("a certificate cannot be read") from None


def _offer_of(plan: Plan, worker: WorkerId) -> Offer:
    for offer in plan.offers:
        if offer.worker == worker:
            return offer
    raise BadKeyError(f"{worker} is not in the plan")


def _identity(offer: Offer) -> IdentityPublicKey:
    if offer.keys is None:
        raise BadKeyError(f"the offer of {offer.worker} holds no keys")
    return certified_key(certificate_der(offer.keys.certificate, offer.worker))


def _key(offer: Offer, kind: str) -> bytes:
    try:
        return bytes.fromhex(getattr(offer.keys, kind))
    except (AttributeError, ValueError):
        raise BadKeyError(f"the offer of {offer.worker} holds no {kind} key") from None
