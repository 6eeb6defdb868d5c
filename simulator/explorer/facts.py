"""What one worker has let out, or done, so far: all that a coordinator can ever use of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from common import canonical
from common.documents import Answer, Attestation, Numbers, Offer, Plan
from common.ids import Digest, WorkerId


@dataclass(frozen=True, slots=True)
class OfferFact:
    """An offer was sent."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class AnswerFact:
    """Work was frozen, and a plan answered with its numbers.

    Args:
        sealed: for each other member.
        base: number and digest of the version that the worker stood on.
        pieces: of work, each by a number of its own.
    """

    plan: Plan
    answer: Answer
    sealed: Mapping[WorkerId, bytes]
    base: tuple[int, Digest]
    pieces: frozenset[int]


@dataclass(frozen=True, slots=True)
class UploadFact:
    """Frozen work was sent, masked for these members.

    Args:
        told: U2 and its numbers, as this worker was told.
        kappa: what its sum is checked with; who shares it was told the same U2 and answers.
    """

    plan: Plan
    kappa: str
    told: Mapping[WorkerId, Numbers]
    pieces: frozenset[int]


@dataclass(frozen=True, slots=True)
class ListFact:
    """A list of survivors was signed."""

    plan: Plan
    survivors: tuple[WorkerId, ...]
    signature: bytes


@dataclass(frozen=True, slots=True)
class RevealFact:
    """One share of each of these members was sent: of its own mask, or of its mask key."""

    plan: Plan
    own: frozenset[WorkerId]
    mask: frozenset[WorkerId]


@dataclass(frozen=True, slots=True)
class AbandonFact:
    """It was promised that no share of this round will be revealed."""

    plan: Plan
    signature: bytes


@dataclass(frozen=True, slots=True)
class WordFact:
    """A word was given for a version."""

    word: Attestation


@dataclass(frozen=True, slots=True)
class StandFact:
    """The trainer was moved onto a version."""

    version: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class SettleFact:
    """The frozen work of a round is this now: "contributed", "free" or "spent"."""

    round: str
    fate: str


@dataclass(frozen=True, slots=True)
class FailureFact:
    """The worker ended by an error that is none of its own."""

    sentence: str


Fact = (
    OfferFact
    | AnswerFact
    | UploadFact
    | ListFact
    | RevealFact
    | AbandonFact
    | WordFact
    | StandFact
    | SettleFact
    | FailureFact
)


def key_of(fact: Fact) -> str:
    """Return what tells a fact from others."""
    match fact:
        case OfferFact(offer=offer):
            return f"offer {offer.nonce}"
        case AnswerFact():
            return f"answer {canonical.digest(fact.answer)}"
        case UploadFact():
            pieces = sorted(fact.pieces)
            return f"upload {canonical.digest(fact.plan)} {fact.kappa} {pieces} {fact.told}"
        case ListFact():
            return f"list {canonical.digest(fact.plan)} {fact.survivors}"
        case RevealFact():
            shares = f"{sorted(fact.own)} {sorted(fact.mask)}"
            return f"reveal {canonical.digest(fact.plan)} {shares}"
        case AbandonFact():
            return f"abandon {canonical.digest(fact.plan)}"
        case WordFact(word=word):
            return f"word {word.plan} {word.version} {word.digest} {word.state}"
    return repr(fact)
