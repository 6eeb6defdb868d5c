"""Signatures by the key of a certificate: over a purpose and SHA-256 of what is signed.

ECDSA over P-256 (what `crosscloud certs` makes) or Ed25519. The private key stays where it is: who
signs is handed a function.
"""

import hashlib

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from common.errors import BadUpdateError
from common.secagg.labels import Purpose, digest

IdentityKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
IdentityPublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


def sign(key: IdentityKey, purpose: Purpose, content: bytes) -> bytes:
    """Return a signature."""
    signed = _signed(purpose, content)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(signed)
    return key.sign(signed, ec.ECDSA(hashes.SHA256()))


def is_valid(key: IdentityPublicKey, purpose: Purpose, content: bytes, signature: bytes) -> bool:
    """Return whether the holder of a key signed this content for this purpose."""
    signed = _signed(purpose, content)
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
        else:
            key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def certified_key(certificate_der: bytes) -> IdentityPublicKey:
    """Return the public key of a certificate. Whose it is, and whether that is true, is not asked.

    Raises:
        BadUpdateError: no certificate, or a key of another kind.
    """
    try:
        key = x509.load_der_x509_certificate(certificate_der).public_key()
    except ValueError:
        raise BadUpdateError("its certificate cannot be read") from None
    if isinstance(key, ed25519.Ed25519PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        return key
    raise BadUpdateError("its certificate's key is neither P-256 nor Ed25519")


def key_id(key: IdentityPublicKey) -> str:
    """Return SHA-256 of a public key's DER (SubjectPublicKeyInfo), hexadecimal: what is pinned."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def _signed(purpose: Purpose, content: bytes) -> bytes:
    return digest(purpose, hashlib.sha256(content).digest())
