"""Signatures by a member's identity: the key of its certificate.

What is signed is the purpose's label and the SHA-256 of the bytes as transported, so that no
message passes for one of another kind. P-256 keys (those of `crosscloud certs`) sign with ECDSA,
its nonce derived from key and message (RFC 6979): signing needs no randomness, and the same message
gets the same bytes. Ed25519 keys (RFC 8032) may come from another authority. No others are taken.
"""

import hashlib
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.errors import BadKeyError, BadSignatureError, ConfigError
from common.ids import Digest
from common.secagg.labels import PlanHash, SignedPurpose, fields, label, name_list

IdentityKey = ec.EllipticCurvePrivateKey | Ed25519PrivateKey
IdentityPublicKey = ec.EllipticCurvePublicKey | Ed25519PublicKey


def identity_key(key: PrivateKeyTypes) -> IdentityKey:
    """Return a certificate's private key if it can sign.

    Raises:
        ConfigError: of another kind.
    """
    if isinstance(key, Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and _is_p256(key.curve):
        return key
    raise ConfigError(
        f"the certificate's key is a {type(key).__name__}: identities are P-256 or Ed25519 keys; "
        "make a new key and let the authority sign it"
    )


def identity_public_key(key: PublicKeyTypes) -> IdentityPublicKey:
    """Return a certificate's public key if signatures of it can be checked.

    Raises:
        BadKeyError: of another kind.
    """
    if isinstance(key, Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and _is_p256(key.curve):
        return key
    raise BadKeyError(
        f"an identity is a {type(key).__name__}, not a P-256 or Ed25519 key: its holder needs a "
        "new certificate"
    )


def key_id(public_key: IdentityPublicKey) -> Digest:
    """Return what operators pin: SHA-256 of the SubjectPublicKeyInfo, DER."""
    der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Digest(hashlib.sha256(der).hexdigest())


def sign(key: IdentityKey, purpose: SignedPurpose, content: bytes) -> bytes:
    """Return the signature: at most 72 bytes, DER (P-256), or 64 (Ed25519)."""
    message = _message(purpose, content)
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(message)
    return key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))


def verify(
    public_key: IdentityPublicKey, purpose: SignedPurpose, content: bytes, signature: bytes
) -> None:
    """Let a true signature pass.

    Raises:
        BadSignatureError: of other bytes, for another purpose, or by another key; names the key.
    """
    message = _message(purpose, content)
    try:
        if isinstance(public_key, Ed25519PublicKey):
            public_key.verify(signature, message)
        else:
            public_key.verify(signature, message, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise BadSignatureError(
            f"the signature of this {purpose!r} is not by the key {key_id(public_key)}: it was "
            "changed on the way, or its sender is not who it says"
        ) from None


def list_content(plan_hash: PlanHash, u2: Iterable[str], survivors: Iterable[str]) -> bytes:
    """Return what a `list` signature is over: the plan, U2 and S, in any order of the names."""
    return fields(plan_hash, name_list(u2), name_list(survivors))


def _message(purpose: SignedPurpose, content: bytes) -> bytes:
    return fields(label(purpose), hashlib.sha256(content).digest())


def _is_p256(curve: ec.EllipticCurve) -> bool:
    return isinstance(curve, ec.SECP256R1)
