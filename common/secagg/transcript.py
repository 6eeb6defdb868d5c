"""Which bytes of a round are hashed and signed: all masks rest on one transcript.

    ph  = SHA-256(plan)                           what is sealed or signed is bound to it
    ctx = digest(ph, U2, answers of U2)           every mask is bound to it

Documents have one canonical form (`common/canonical.py`), so their bytes need not be carried along.
A signature covers its document without the field that holds it.
"""

import contextlib
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal

from cryptography import x509

from common import canonical
from common.documents import Answer, Attestation, Evaluation, Offer, Plan, RollbackOrder
from common.errors import BadKeyError, BadSignatureError
from common.foreign import foreign
from common.ids import WorkerId
from common.secagg import labels, signatures
from common.secagg.keys import KEY_BYTES, EncPublicKey, MaskPublicKey
from common.secagg.labels import Context, PlanHash, SignedPurpose
from common.secagg.signatures import IdentityPublicKey, identity_public_key, verify

_HEX: Final = frozenset("0123456789abcdef")


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


def signed_content(
    document: Offer | Answer | Attestation | RollbackOrder | Evaluation,
) -> bytes:
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
    """Return whether a signature is there and true, whatever was sent as one.

    Args:
        signature: hexadecimal, lower case and without blanks: nobody can pad what others carry.
    """
    if not signature or set(signature) - _HEX:
        return False
    try:
        with foreign("a signature", BadSignatureError):
            verify(key, purpose, content, bytes.fromhex(signature))
    except BadSignatureError:
        return False
    return True


def num_signed(
    plan: Plan, purpose: SignedPurpose, content: bytes, signatures: Mapping[WorkerId, str] | None
) -> int:
    """Return how many members of a masked plan signed this."""
    valid = 0
    for worker, signature in (signatures or {}).items():
        with contextlib.suppress(BadKeyError):  # no member
            valid += is_signed(identity_of(plan, worker), purpose, content, signature)
    return valid


def offered_keys(offer: Offer) -> tuple[EncPublicKey, MaskPublicKey]:
    """Return the two X25519 keys of an offer: equal if and only if their bytes are.

    Raises:
        BadKeyError: one is missing, or is none.
    """
    return EncPublicKey(_key(offer, "sealing")), MaskPublicKey(_key(offer, "masking"))


def enc_key_of(plan: Plan, worker: WorkerId) -> EncPublicKey:
    """Return what shares for a member are sealed with.

    Raises:
        BadKeyError: its offer holds no such key.
    """
    return offered_keys(_offer_of(plan, worker))[0]


def mask_key_of(plan: Plan, worker: WorkerId) -> MaskPublicKey:
    """Return the public half of a member's mask key.

    Raises:
        BadKeyError: its offer holds no such key.
    """
    return offered_keys(_offer_of(plan, worker))[1]


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
        with foreign("a certificate"):
            return b64decode(encoded, validate=True)
    except BadKeyError:
        raise BadKeyError(f"{worker}: its certificate is not base64") from None


def certified_key(der: bytes) -> IdentityPublicKey:
    """Return the key of a certificate. Whose it is, and whether that is true, is not asked.

    Raises:
        BadKeyError: no certificate, or a key of another kind.
    """
    with foreign("a certificate"):
        return identity_public_key(x509.load_der_x509_certificate(der).public_key())


def _offer_of(plan: Plan, worker: WorkerId) -> Offer:
    for offer in plan.offers:
        if offer.worker == worker:
            return offer
    raise BadKeyError(f"{worker} is not in the plan")


def _identity(offer: Offer) -> IdentityPublicKey:
    if offer.keys is None:
        raise BadKeyError(f"the offer of {offer.worker} holds no keys")
    return certified_key(certificate_der(offer.keys.certificate, offer.worker))


def _key(offer: Offer, kind: Literal["sealing", "masking"]) -> bytes:
    """Return the bytes of a key, in the one spelling of them that there is."""
    spelled = "" if offer.keys is None else getattr(offer.keys, kind)
    if len(spelled) != 2 * KEY_BYTES or set(spelled) - _HEX:
        raise BadKeyError(
            f"the offer of {offer.worker} holds no {kind} key: {2 * KEY_BYTES} hexadecimal digits, "
            "lower case"
        )
    return bytes.fromhex(spelled)
