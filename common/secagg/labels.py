"""What every hash, key and signature is for: purpose labels, length prefixes, the plan's hash.

A label keeps the output for one purpose from ever being valid for another. Each field goes in
behind its length, so that no two lists of fields give the same bytes.

    label(purpose)   "crosscloud/1/" + purpose
    fields(a, b)     len(a) as 4 bytes big-endian, a, len(b), b
    ph               SHA-256(the plan's bytes as transported)
    ctx              digest("context", ph, fields(names of U2 sorted), fields(their numbers))
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, Literal, NewType, get_args

KeyPurpose = Literal["share", "pair", "self", "kappa"]
StreamPurpose = Literal[
    "data", "side-values", "tag", "tag-place", "tag-group", "tag-side-values", "tag-pad"
]
SignedPurpose = Literal["offer", "shares", "list", "abandon", "head", "rollback", "evaluation"]
CommitPurpose = Literal["commit-self", "commit-kappa"]
Purpose = KeyPurpose | StreamPurpose | SignedPurpose | CommitPurpose | Literal["context"]

PlanHash = NewType("PlanHash", bytes)
"""ph, 32 bytes: names one attempt, for the plan carries 16 random bytes."""

Context = NewType("Context", bytes)
"""ctx, 32 bytes: members that were told different things hold different ones."""

HASH_BYTES: Final = 32

_LENGTH_BYTES: Final = 4
_PURPOSES: Final = frozenset(
    purpose
    for kind in (KeyPurpose, StreamPurpose, SignedPurpose, CommitPurpose, Literal["context"])
    for purpose in get_args(kind)
)


def label(purpose: Purpose) -> bytes:
    """Return the label of a known purpose."""
    if purpose not in _PURPOSES:
        raise ValueError(f"purpose {purpose!r} is not known: add it to common/secagg/labels.py")
    return f"crosscloud/1/{purpose}".encode()


def fields(*parts: bytes) -> bytes:
    """Return all parts, each behind its length."""
    return b"".join(len(part).to_bytes(_LENGTH_BYTES, "big") + part for part in parts)


def digest(purpose: Purpose, *parts: bytes) -> bytes:
    """Return the SHA-256 of the label and the parts: 32 bytes."""
    return hashlib.sha256(fields(label(purpose), *parts)).digest()


def plan_hash(plan: bytes) -> PlanHash:
    """Return ph of a plan's bytes as transported."""
    return PlanHash(hashlib.sha256(plan).digest())


def name_list(names: Iterable[str]) -> bytes:
    """Return a set of member names as one field: sorted, each behind its length."""
    ordered = sorted(names)
    if len(set(ordered)) != len(ordered):
        raise ValueError(f"a name repeats in {', '.join(ordered)}")
    return fields(*(name.encode() for name in ordered))


def context(plan_hash: PlanHash, u2_names: Iterable[str], numbers: Mapping[str, bytes]) -> Context:
    """Return ctx.

    Args:
        plan_hash: of the round's plan.
        u2_names: members whose shares arrived, in any order.
        numbers: exactly theirs, each as transported.
    """
    names = sorted(u2_names)
    if names != sorted(numbers):
        raise ValueError(f"numbers of {', '.join(sorted(numbers))}, but U2 is {', '.join(names)}")
    if len(plan_hash) != HASH_BYTES:
        raise ValueError(f"a plan's hash has {HASH_BYTES} bytes, not {len(plan_hash)}")
    told = fields(*(numbers[name] for name in names))
    return Context(digest("context", plan_hash, name_list(names), told))
