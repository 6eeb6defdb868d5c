"""Commitments: a member says with its shares what b_i and kappa_i are, and cannot change it later.

SHA-256 of a label and 32 random bytes hides them as long as they are random, and binds because
nobody finds two inputs of one hash. It refuses nothing itself: who breaks a commitment is for the
caller to name.
"""

import hmac
from typing import Final

from common.secagg.labels import CommitPurpose, digest

COMMITTED_BYTES: Final = 32


def commit(purpose: CommitPurpose, secret: bytes) -> bytes:
    """Return the commitment, 32 bytes, to 32 secret random bytes."""
    if len(secret) != COMMITTED_BYTES:
        raise ValueError(f"{len(secret)} bytes, commitments are to {COMMITTED_BYTES} random ones")
    return digest(purpose, secret)


def matches(commitment: bytes, purpose: CommitPurpose, secret: bytes) -> bool:
    """Return whether `secret` is what was committed to, in constant time."""
    return len(secret) == COMMITTED_BYTES and hmac.compare_digest(
        commitment, commit(purpose, secret)
    )
