"""Purposes, and how several fields become one: no byte string of one purpose is one of another.

label(purpose) = "crosscloud/1/" + purpose
fields(a, b)   = len(a) as 4 bytes big-endian, a, len(b), b
"""

import hashlib
from typing import Final, Literal

PREFIX: Final = "crosscloud/1/"

Purpose = Literal[
    "offer",
    "shares",
    "list",
    "abandon",
    "head",
    "context",
    "share",
    "pair",
    "self",
    "kappa",
    "commit-own",
    "commit-common",
]


def label(purpose: Purpose) -> bytes:
    """Return the prefix of everything that is derived, hashed or signed for a purpose."""
    return (PREFIX + purpose).encode("ascii")


def fields(*parts: bytes) -> bytes:
    """Return the parts in order, each after its length: no two lists of parts are one string."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def digest(purpose: Purpose, *parts: bytes) -> bytes:
    """Return SHA-256 of a purpose and parts, 32 bytes."""
    return hashlib.sha256(fields(label(purpose), *parts)).digest()
