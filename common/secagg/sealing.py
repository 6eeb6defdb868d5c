"""What one member seals for another, so that the coordinator relays what it cannot read.

ChaCha20-Poly1305 (RFC 8439) with nonce 0 under a key that is used once; ph, sender and receiver are
authenticated with it.

    content   share of b_i (33) | share of the secret mask key (33) | kappa_i (32)
"""

from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from common.errors import BadUpdateError
from common.secagg.labels import fields, label
from common.secagg.shamir import MODULUS, SHARE_BYTES

_COMMON_BYTES: Final = 32
_CONTENT_BYTES: Final = 2 * SHARE_BYTES + _COMMON_BYTES
_NONCE: Final = bytes(12)

SEALED_BYTES: Final = _CONTENT_BYTES + 16
"""With the tag."""


@dataclass(frozen=True, slots=True)
class SealedShares:
    """See the module docstring."""

    own: bytes = field(repr=False)
    mask: bytes = field(repr=False)
    common: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """Return the content."""
        return self.own + self.mask + self.common

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Return what the content holds.

        Raises:
            BadUpdateError: another size, or a share that is none.
        """
        if len(content) != _CONTENT_BYTES:
            raise BadUpdateError(f"sealed {len(content)} bytes, must be {_CONTENT_BYTES}")
        own, mask = content[:SHARE_BYTES], content[SHARE_BYTES : 2 * SHARE_BYTES]
        for share in (own, mask):
            if int.from_bytes(share, "little") >= MODULUS:
                raise BadUpdateError("a sealed share is beyond the field")
        return cls(own, mask, content[2 * SHARE_BYTES :])


def seal(key: bytes, plan_hash: bytes, sender: str, receiver: str, content: bytes) -> bytes:
    """Return the sealed content."""
    return ChaCha20Poly1305(key).encrypt(_NONCE, content, _bound(plan_hash, sender, receiver))


def unseal(key: bytes, plan_hash: bytes, sender: str, receiver: str, sealed: bytes) -> bytes:
    """Return the content.

    Raises:
        BadUpdateError: it was not sealed by `sender` for `receiver` in this round.
    """
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, sealed, _bound(plan_hash, sender, receiver))
    except InvalidTag:
        raise BadUpdateError(f"what {sender} sealed for {receiver} does not open") from None


def _bound(plan_hash: bytes, sender: str, receiver: str) -> bytes:
    return fields(label("share"), plan_hash, sender.encode(), receiver.encode())
