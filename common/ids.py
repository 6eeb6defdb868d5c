"""Names of things, so that one cannot be passed for another."""

from typing import NewType

WorkerId = NewType("WorkerId", str)
"""A worker's name on the member list and in its certificate: lower case, digits, hyphens."""

RoundId = NewType("RoundId", str)
"""32 hexadecimal digits, drawn at random for each round: an emptied Redis cannot reuse one."""

SessionId = NewType("SessionId", str)
"""One control stream's life, drawn at random by the coordinator."""

Digest = NewType("Digest", str)
"""SHA-256 as 64 hexadecimal digits."""
