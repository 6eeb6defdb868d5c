"""Shamir's secret sharing of 32 bytes over the prime field of 2**256 + 297 (Shamir 1979).

A share is the value of a random polynomial of degree t - 1 at the member's place in the roster, 33
bytes little-endian; the secret is its value at 0. Fewer than t shares say nothing about it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from common.errors import BadUpdateError

MODULUS: Final = 2**256 + 297
SHARE_BYTES: Final = 33
SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Share:
    """A point of the polynomial.

    Args:
        x: from 1 on.
        value: 33 bytes little-endian.
    """

    x: int
    value: bytes = field(repr=False)


def x_coordinate(name: str, roster: Sequence[str]) -> int:
    """Return a member's place in the sorted roster, from 1 on."""
    return 1 + sorted(roster).index(name)


def split(
    secret: bytes, threshold: int, xs: Sequence[int], random: Callable[[int], bytes]
) -> tuple[Share, ...]:
    """Return one share for each x.

    Args:
        secret: 32 bytes.
        threshold: t, how many shares give it back.
        xs: distinct, from 1 on.
        random: returns so many bytes that nobody can guess.
    """
    if len(secret) != SECRET_BYTES or len(set(xs)) != len(xs) or not 1 <= threshold <= len(xs):
        raise ValueError(f"{len(secret)} bytes in {threshold} of {len(xs)} shares")
    if not all(1 <= x < MODULUS for x in xs):
        raise ValueError("a share at 0 would be the secret")
    coefficients = [int.from_bytes(secret, "little")]
    coefficients += [_element(random) for _ in range(threshold - 1)]
    return tuple(Share(x, _value(coefficients, x).to_bytes(SHARE_BYTES, "little")) for x in xs)


def combine(shares: Sequence[Share], threshold: int) -> bytes:
    """Return the secret, 32 bytes.

    Raises:
        BadUpdateError: too few, one twice, one beyond the field, or they do not fit together.
    """
    points = {share.x: int.from_bytes(share.value, "little") for share in shares}
    if len(points) != len(shares) or len(points) < threshold:
        raise BadUpdateError(f"{len(points)} different shares of {len(shares)}, need {threshold}")
    if any(len(s.value) != SHARE_BYTES for s in shares) or max(points.values()) >= MODULUS:
        raise BadUpdateError("a share is beyond the field")
    used = dict(sorted(points.items())[:threshold])
    for x, value in points.items():
        if x not in used and _at(used, x) != value:
            raise BadUpdateError("the shares do not lie on one polynomial")
    secret = _at(used, 0)
    if secret >= 2 ** (8 * SECRET_BYTES):
        raise BadUpdateError("the shares give no secret of 32 bytes")
    return secret.to_bytes(SECRET_BYTES, "little")


def _element(random: Callable[[int], bytes]) -> int:
    """Return a uniform element of the field: what is beyond it is drawn again."""
    while True:
        drawn = int.from_bytes(random(SHARE_BYTES), "little") % 2**257
        if drawn < MODULUS:
            return drawn


def _value(coefficients: Sequence[int], x: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % MODULUS
    return value


def _at(points: dict[int, int], x: int) -> int:
    """Return the polynomial through the points at x (Lagrange)."""
    total = 0
    for i, y in points.items():
        above, below = 1, 1
        for j in points:
            if j != i:
                above, below = above * (x - j) % MODULUS, below * (i - j) % MODULUS
        total += y * above * pow(below, -1, MODULUS)
    return total % MODULUS
