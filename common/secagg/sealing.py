"""What one member seals for another one through the coordinator: ChaCha20-Poly1305, RFC 8439.

    plaintext (98 bytes)   share of b_i (33), share of mask_sk_i (33), kappa_i whole (32)
    additional data        label "share", ph, sender, receiver, each behind its length

The nonce is zero because a key seals one message: it is derived for one sender, one receiver and
one plan, from pairs that one offer used. To send again is to send the same bytes again.
"""

from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from common.errors import BadShareError
from common.secagg.keys import KEY_BYTES, ShareKey
from common.secagg.labels import PlanHash, fields, label
from common.secagg.shamir import SHARE_BYTES, Share

PLAIN_BYTES: Final = 2 * SHARE_BYTES + KEY_BYTES
SEALED_BYTES: Final = PLAIN_BYTES + 16

_NONCE: Final = bytes(12)


@dataclass(frozen=True, slots=True)
class SealedShares:
    """What one receiver gets of one sender.

    Args:
        of_self: share of b_i, at the receiver's x.
        of_mask_key: share of mask_sk_i, at the same x.
        kappa: kappa_i whole, 32 bytes.
    """

    of_self: Share = field(repr=False)
    of_mask_key: Share = field(repr=False)
    kappa: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what no receiver could use."""
        if self.of_self.x != self.of_mask_key.x:
            raise ValueError(
                f"shares at x = {self.of_self.x} and {self.of_mask_key.x}: one receiver has one x"
            )
        if len(self.kappa) != KEY_BYTES:
            raise ValueError(f"kappa has {len(self.kappa)} bytes, not {KEY_BYTES}")

    def to_bytes(self) -> bytes:
        """Return the 98 bytes."""
        return self.of_self.to_bytes() + self.of_mask_key.to_bytes() + self.kappa

    @classmethod
    def from_bytes(cls, x: int, content: bytes) -> Self:
        """Read the 98 bytes that were meant for coordinate `x`.

        Raises:
            BadShareError: wrong size, or a value is not below the prime.
        """
        if len(content) != PLAIN_BYTES:
            raise BadShareError(f"{len(content)} bytes, not {PLAIN_BYTES}")
        return cls(
            Share.from_bytes(x, content[:SHARE_BYTES]),
            Share.from_bytes(x, content[SHARE_BYTES : 2 * SHARE_BYTES]),
            content[2 * SHARE_BYTES :],
        )


def seal(
    key: ShareKey, plan_hash: PlanHash, sender: str, receiver: str, shares: SealedShares
) -> bytes:
    """Return 114 bytes for the receiver. Never call it with other shares for the same key."""
    data = _additional_data(plan_hash, sender, receiver)
    return ChaCha20Poly1305(key.to_bytes()).encrypt(_NONCE, shares.to_bytes(), data)


def unseal(
    key: ShareKey, plan_hash: PlanHash, sender: str, receiver: str, sealed: bytes, x: int
) -> SealedShares:
    """Return what `sender` sealed for `receiver`, whose coordinate is `x`.

    Raises:
        BadShareError: it does not open, or holds what is no share; names the sender.
    """
    data = _additional_data(plan_hash, sender, receiver)
    try:
        plain = ChaCha20Poly1305(key.to_bytes()).decrypt(_NONCE, sealed, data)
    except InvalidTag:
        raise BadShareError(
            f"what {sender} sealed for {receiver} does not open: it was changed on the way, or is "
            "of another plan, sender or receiver; refuse the round"
        ) from None
    try:
        return SealedShares.from_bytes(x, plain)
    except BadShareError as e:
        raise BadShareError(
            f"what {sender} sealed for {receiver} opens but holds no shares ({e}): {sender} is "
            "broken; refuse the round"
        ) from None


def _additional_data(plan_hash: PlanHash, sender: str, receiver: str) -> bytes:
    return fields(label("share"), plan_hash, sender.encode(), receiver.encode())
