"""Names of things, so that one cannot be passed for another."""

import re
from typing import Final, NewType

WorkerId = NewType("WorkerId", str)
"""A worker's name on the member list and in its certificate: lower case, digits, hyphens."""

RoundId = NewType("RoundId", str)
"""32 hexadecimal digits, drawn at random for each round: an emptied Redis cannot reuse one."""

SessionId = NewType("SessionId", str)
"""One control stream's life, drawn at random by the coordinator."""

Digest = NewType("Digest", str)
"""SHA-256 as 64 hexadecimal digits."""

_ROUND: Final = re.compile(r"[0-9a-f]{32}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_WORKER: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def is_round_id(name: str) -> bool:
    """Return whether a string may be a round's name: it becomes a folder's, and 16 bytes."""
    return _ROUND.fullmatch(name) is not None


def is_digest(name: str) -> bool:
    """Return whether a string may be a SHA-256: it becomes a file's name."""
    return _DIGEST.fullmatch(name) is not None


def is_worker_id(name: str) -> bool:
    """Return whether a string may be a worker's name, as in member lists and certificates."""
    return _WORKER.fullmatch(name) is not None
