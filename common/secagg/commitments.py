"""Commitments to 32 random bytes: hiding because they are random, binding because SHA-256 is."""

import hmac
from typing import Literal

from common.secagg.labels import digest


def commit(purpose: Literal["own", "common"], secret: bytes) -> bytes:
    """Return the commitment, 32 bytes."""
    return digest("commit-own" if purpose == "own" else "commit-common", secret)


def matches(purpose: Literal["own", "common"], secret: bytes, commitment: bytes) -> bool:
    """Return whether a secret is the one that was committed to."""
    return hmac.compare_digest(commit(purpose, secret), commitment)
