"""X25519 pairs, and every secret that follows from them by HKDF-SHA256 (RFC 7748, RFC 5869).

share key i->j   HKDF(X25519(sealing), salt = ph,  share, i, j)
pair seed        HKDF(X25519(masking), salt = ctx, pair, min, max)
self seed        HKDF(b_i,             salt = ctx, self, i)
kappa            HKDF(kappa_i of U2,   salt = ctx, kappa)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from common.errors import BadUpdateError
from common.secagg.labels import Purpose, fields, label

KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class PublicKey:
    """X25519, 32 bytes."""

    content: bytes

    def __post_init__(self) -> None:
        """Refuse another size."""
        _check_size(self.content, "a public key")


@dataclass(frozen=True, slots=True)
class SecretKey:
    """X25519, 32 bytes."""

    _content: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse another size."""
        _check_size(self._content, "a secret key")

    @property
    def public(self) -> PublicKey:
        """Return the other half."""
        private = X25519PrivateKey.from_private_bytes(self._content)
        return PublicKey(private.public_key().public_bytes_raw())

    def to_bytes(self) -> bytes:
        """Return the secret."""
        return self._content

    def agreed(self, other: PublicKey) -> bytes:
        """Return X25519 of this and another's key.

        Raises:
            BadUpdateError: zeros: the other key is no honest one.
        """
        private = X25519PrivateKey.from_private_bytes(self._content)
        try:
            return private.exchange(X25519PublicKey.from_public_bytes(other.content))
        except ValueError:
            raise BadUpdateError("its X25519 key gives zeros: no honest key does") from None


def share_key(
    own: SecretKey, other: PublicKey, plan_hash: bytes, sender: str, receiver: str
) -> bytes:
    """Return the key of what `sender` seals for `receiver`: 32 bytes, used once."""
    return _derived(own.agreed(other), plan_hash, "share", sender.encode(), receiver.encode())


def pair_seed(own: SecretKey, other: PublicKey, context: bytes, a: str, b: str) -> bytes:
    """Return the seed of the mask that cancels between two members: 32 bytes."""
    first, second = sorted((a, b))
    return _derived(own.agreed(other), context, "pair", first.encode(), second.encode())


def self_seed(own: bytes, context: bytes, name: str) -> bytes:
    """Return the seed of a member's own mask: 32 bytes."""
    _check_size(own, "b_i")
    return _derived(own, context, "self", name.encode())


def kappa(parts: Sequence[bytes], context: bytes) -> bytes:
    """Return what all of U2 knows and nobody else: 32 bytes.

    Args:
        parts: kappa_i of U2, in the order of names.
    """
    return _derived(fields(*parts), context, "kappa")


def _derived(secret: bytes, salt: bytes, purpose: Purpose, *parts: bytes) -> bytes:
    hkdf = HKDF(hashes.SHA256(), KEY_BYTES, salt, fields(label(purpose), *parts))
    return hkdf.derive(secret)


def _check_size(content: bytes, what: str) -> None:
    if len(content) != KEY_BYTES:
        raise BadUpdateError(f"{what} has {len(content)} bytes, must be {KEY_BYTES}")
