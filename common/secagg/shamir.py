"""Shamir's secret sharing over the prime 2^256 + 297: t of n shares give 32 bytes, t - 1 nothing.

A share is the value at x of a polynomial of degree t - 1 whose value at 0 is the secret (as a
little-endian integer) and whose other coefficients are uniform. x is 1 + the member's index in the
roster sorted by name. A share is 33 bytes, little-endian, because the prime has 257 bits: so any 32
bytes can be split, an X25519 key or a seed, and none has to be drawn again.

Python's integers do not run in constant time. What is split lives for one attempt, is split once
and put together once, and only after the coordinator may know it.
"""

import functools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from common.errors import BadShareError, NotAMemberError
from common.secagg.keys import RandomBytes

PRIME: Final = 2**256 + 297
SECRET_BYTES: Final = 32
SHARE_BYTES: Final = 33

_LARGEST_X: Final = 2**16 - 1
_DRAW_BELOW: Final = 2**257


@dataclass(frozen=True, slots=True)
class Share:
    """The polynomial's value at one member's x: secret, so it is not printed."""

    x: int
    y: int = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what no polynomial takes on.

        Raises:
            BadShareError: the value is not below the prime.
        """
        if not 1 <= self.x <= _LARGEST_X:
            raise ValueError(f"x is {self.x}, must be from 1 to {_LARGEST_X}: 0 is the secret's")
        if not 0 <= self.y < PRIME:
            raise BadShareError(f"the share at x = {self.x} is not below 2^256 + 297: refuse it")

    @classmethod
    def from_bytes(cls, x: int, content: bytes) -> Self:
        """Read a share.

        Raises:
            BadShareError: wrong size, or the value is not below the prime.
        """
        if len(content) != SHARE_BYTES:
            raise BadShareError(
                f"the share at x = {x} has {len(content)} bytes, not {SHARE_BYTES}: refuse it"
            )
        return cls(x, int.from_bytes(content, "little"))

    def to_bytes(self) -> bytes:
        """Return the value as 33 bytes, little-endian; x goes without saying."""
        return self.y.to_bytes(SHARE_BYTES, "little")


def x_coordinate(name: str, roster: Collection[str]) -> int:
    """Return 1 + the index of `name` in the roster sorted by name.

    Raises:
        NotAMemberError: it is not in the roster.
    """
    ordered = sorted(roster)
    if len(set(ordered)) != len(ordered):
        raise ValueError(f"a name repeats in the roster {', '.join(ordered)}")
    if name not in ordered:
        raise NotAMemberError(f"{name} is not in this cohort ({', '.join(ordered)})")
    return 1 + ordered.index(name)


def split(
    secret: bytes, threshold: int, xs: Sequence[int], random: RandomBytes
) -> tuple[Share, ...]:
    """Return one share per x, in the order of `xs`.

    Args:
        secret: 32 bytes.
        threshold: how many shares give it back.
        xs: distinct, from 1.
        random: fresh bytes; read anew for each polynomial.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, not {len(secret)}")
    if len(set(xs)) != len(xs):
        raise ValueError(f"an x repeats in {sorted(xs)}")
    if not 1 <= threshold <= len(xs):
        raise ValueError(f"threshold {threshold} with {len(xs)} shares: must be from 1 to that")
    coefficients = [int.from_bytes(secret, "little")]
    coefficients += [_uniform(random) for _ in range(threshold - 1)]
    return tuple(Share(x, _horner(coefficients, x)) for x in xs)


def combine(shares: Iterable[Share], threshold: int) -> bytes:
    """Return the secret, 32 bytes, from `threshold` shares or more.

    By Newton's divided differences: those of order `threshold` and above are zero if and only if
    all shares lie on one polynomial of the right degree. With exactly `threshold` shares a wrong
    one cannot be seen here: the caller checks the secret against its commitment or public key.

    Raises:
        BadShareError: too few, two of one x, not on one polynomial, or no 32 bytes.
    """
    if threshold < 1:
        raise ValueError(f"threshold {threshold}: must be at least 1")
    points = sorted(shares, key=lambda share: share.x)
    xs = [share.x for share in points]
    if len(set(xs)) != len(xs):
        raise BadShareError(f"two shares of one member among x = {xs}: each counts once")
    if len(points) < threshold:
        raise BadShareError(f"{len(points)} shares, {threshold} are needed")
    differences = [share.y for share in points]
    for order in range(1, len(points)):
        for i in range(len(points) - 1, order - 1, -1):
            rise = differences[i] - differences[i - 1]
            differences[i] = rise * _inverse(xs[i] - xs[i - order]) % PRIME
    if any(differences[threshold:]):
        raise BadShareError(
            f"the {len(points)} shares at x = {xs} do not lie on one polynomial of degree "
            f"{threshold - 1}: at least one member sent a wrong one"
        )
    secret = 0
    for x, difference in zip(xs[::-1], differences[::-1], strict=True):
        secret = (difference - secret * x) % PRIME
    if secret >= 2 ** (8 * SECRET_BYTES):
        raise BadShareError(f"the shares at x = {xs} give no {SECRET_BYTES} bytes: one is wrong")
    return secret.to_bytes(SECRET_BYTES, "little")


def _uniform(random: RandomBytes) -> int:
    """Return a uniform integer below the prime: draws of 257 bits until one is, two on average."""
    while True:
        drawn = random(SHARE_BYTES)
        if len(drawn) != SHARE_BYTES:
            raise ValueError(f"the random source gave {len(drawn)} bytes, not {SHARE_BYTES}")
        value = int.from_bytes(drawn, "little") % _DRAW_BELOW
        if value < PRIME:
            return value


def _horner(coefficients: Sequence[int], x: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % PRIME
    return value


@functools.cache
def _inverse(difference: int) -> int:
    """Return 1/difference; there are few, for coordinates are small and public."""
    inverse: int = pow(difference, -1, PRIME)
    return inverse
