"""Keys of one round: two X25519 pairs per member, and what HKDF-SHA256 makes of them.

    share key i->j   HKDF(X25519(enc), salt ph, "share", i, j)       seals one message
    pair seed        HKDF(X25519(mask), salt ctx, "pair", min, max)  masks that cancel
    self seed        HKDF(b_i, salt ctx, "self", i)                  a mask that survivors take off
    kappa            HKDF(all kappa_i by name, salt ctx, "kappa")    what only members know: tags

`enc` and `mask` are distinct types because a lost member's `mask` key is revealed: one pair for
both would open the shares that were relayed to it (Bonawitz et al. 2017 use two for that reason).
An `enc` key therefore has no bytes to give away. Secrets show no content when printed and compare
in constant time. Python cannot erase memory: whoever holds a secret drops it when its attempt ends.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from typing_extensions import override

from common.errors import BadKeyError
from common.secagg.labels import HASH_BYTES, Context, KeyPurpose, PlanHash, fields, label

RandomBytes = Callable[[int], bytes]
"""Returns that many fresh, secret, uniform bytes, as `secrets.token_bytes` does."""

KEY_BYTES: Final = 32

_FIELD: Final = 2**255 - 19

_ANY_SECRET: Final = bytes(range(KEY_BYTES))
"""Of no use to anybody: the order of a key shows with any secret."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An X25519 public key as an offer carries it.

    Only the one canonical encoding passes, so that keys are the same if and only if bytes are.
    """

    content: bytes

    def __post_init__(self) -> None:
        """Refuse what is no key.

        Raises:
            BadKeyError: wrong size, or not reduced modulo 2^255 - 19.
        """
        if len(self.content) != KEY_BYTES:
            raise BadKeyError(
                f"a public key has {KEY_BYTES} bytes, this one {len(self.content)}: refuse its "
                "offer"
            )
        if int.from_bytes(self.content, "little") >= _FIELD:
            raise BadKeyError(
                "a public key is not reduced modulo 2^255 - 19, as honest ones are: refuse its "
                "offer"
            )

    def to_bytes(self) -> bytes:
        """Return the 32 bytes of RFC 7748."""
        return self.content

    def check_order(self) -> None:
        """Refuse a key with which every secret is zeros, whoever agrees with it (RFC 7748, 6.1).

        Raises:
            BadKeyError: of small order.
        """
        try:
            X25519PrivateKey.from_private_bytes(_ANY_SECRET).exchange(
                X25519PublicKey.from_public_bytes(self.content)
            )
        except ValueError:
            raise BadKeyError(
                "a public key is of small order, so anybody could derive its secrets: refuse its "
                "offer"
            ) from None


class EncPublicKey(PublicKey):
    """Shares are sealed for its holder."""

    __slots__ = ()


class MaskPublicKey(PublicKey):
    """Its holder's pair masks come from it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class _Secret:
    """32 secret bytes. `repr` and `eq` are not the dataclass's, which would show and leak them."""

    _content: bytes

    def __post_init__(self) -> None:
        if len(self._content) != KEY_BYTES:
            raise ValueError(
                f"a {type(self).__name__} has {KEY_BYTES} bytes, not {len(self._content)}"
            )

    @override
    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return hmac.compare_digest(self._content, other._content)

    __hash__ = None  # type: ignore[assignment]  # a table of secrets would compare them by hash


class SecretKey(_Secret):
    """An X25519 private key, fresh for one offer."""

    __slots__ = ()

    @classmethod
    def generate(cls, random: RandomBytes) -> Self:
        """Return a new key."""
        return cls(random(KEY_BYTES))

    def _public_bytes(self) -> bytes:
        return self._x25519().public_key().public_bytes_raw()

    def _x25519(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self._content)

    def _agree(self, other: PublicKey, between: tuple[str, str]) -> bytes:
        """Return X25519's shared secret, 32 bytes."""
        try:
            return self._x25519().exchange(X25519PublicKey.from_public_bytes(other.to_bytes()))
        except ValueError:  # RFC 7748, 6.1: all zeros, whatever our own key is
            raise BadKeyError(
                f"X25519 between {between[0]} and {between[1]} gives zeros: the other member's "
                "public key is of small order, so anybody could derive their secrets; refuse the "
                "round"
            ) from None


class EncSecretKey(SecretKey):
    """Opens what was sealed for its holder; never shared, never revealed, not even as bytes."""

    __slots__ = ()

    @property
    def public(self) -> EncPublicKey:
        """Its public half."""
        return EncPublicKey(self._public_bytes())


class MaskSecretKey(SecretKey):
    """Its holder's pair masks come from it; shared, and revealed when the holder is lost."""

    __slots__ = ()

    @property
    def public(self) -> MaskPublicKey:
        """Its public half: whoever puts a key together from shares compares it with the offer's."""
        return MaskPublicKey(self._public_bytes())

    def to_bytes(self) -> bytes:
        """Return the 32 bytes that are split among the members."""
        return self._content


class _Derived(_Secret):
    """What HKDF made."""

    __slots__ = ()

    def to_bytes(self) -> bytes:
        """Return the 32 bytes."""
        return self._content


class ShareKey(_Derived):
    """Seals one message of one member for another one, once."""

    __slots__ = ()


class PairSeed(_Derived):
    """Of the masks that two members add with opposite signs."""

    __slots__ = ()


class SelfSeed(_Derived):
    """Of the mask that one member adds alone."""

    __slots__ = ()


class Kappa(_Derived):
    """What the members know and the coordinator does not; it masks nothing."""

    __slots__ = ()


def share_key(
    own: EncSecretKey, other: EncPublicKey, plan_hash: PlanHash, sender: str, receiver: str
) -> ShareKey:
    """Return the key for what `sender` seals for `receiver`: both derive it, each with its own.

    Raises:
        BadKeyError: the other member's key gives zeros.
    """
    _distinct(sender, receiver)
    secret = own._agree(other, (sender, receiver))
    return ShareKey(_hkdf(secret, plan_hash, "share", sender, receiver))


def pair_seed(
    own: MaskSecretKey, other: MaskPublicKey, context: Context, a: str, b: str
) -> PairSeed:
    """Return the seed that members `a` and `b` have in common, in whichever order.

    Raises:
        BadKeyError: the other member's key gives zeros.
    """
    _distinct(a, b)
    secret = own._agree(other, (a, b))
    return PairSeed(_hkdf(secret, context, "pair", min(a, b), max(a, b)))


def self_seed(b: bytes, context: Context, name: str) -> SelfSeed:
    """Return the seed of a member's own mask from its b_i, 32 random bytes."""
    _check_size(b, f"b of {name}")
    return SelfSeed(_hkdf(b, context, "self", name))


def kappa(parts: Mapping[str, bytes], context: Context) -> Kappa:
    """Return kappa.

    Args:
        parts: each kappa_i, 32 random bytes, of exactly the members of U2; taken by name.
        context: of the round.
    """
    for name, part in parts.items():
        _check_size(part, f"kappa of {name}")
    secret = fields(*(parts[name] for name in sorted(parts)))
    return Kappa(_hkdf(secret, context, "kappa"))


def _hkdf(secret: bytes, salt: bytes, purpose: KeyPurpose, *names: str) -> bytes:
    if len(salt) != HASH_BYTES:
        raise ValueError(f"the salt of {purpose!r} has {len(salt)} bytes, not {HASH_BYTES}")
    info = fields(label(purpose), *(name.encode() for name in names))
    return HKDF(SHA256(), KEY_BYTES, salt, info).derive(secret)


def _check_size(secret: bytes, what: str) -> None:
    if len(secret) != KEY_BYTES:
        raise ValueError(f"{what} has {len(secret)} bytes, not {KEY_BYTES}")


def _distinct(a: str, b: str) -> None:
    if a == b:
        raise ValueError(f"{a} has no key with itself")
