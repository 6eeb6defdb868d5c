"""What a privacy tier is to a worker's conduct: two protocols, and a file for each tier.

    Tier       outlives rounds: an offer's keys, whose word counts, its own word
    Attempt    one try at one round: what it answers, what protects its shards, what it reveals

`masked_tier.py` and `tls_tier.py` are the tiers; `conduct.py` asks nothing else of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from common.documents import Answer, Attestation, Numbers, Offer, Plan, Record
from common.ids import WorkerId
from common.shards import PayloadLayout, ShardBytes
from worker.rounds.visited import Visited


@dataclass(frozen=True, slots=True)
class RevealedShares:
    """One share of each member of U2: of b_j for a survivor, of the mask key for a lost one."""

    own: Mapping[WorkerId, bytes] = field(repr=False)
    mask: Mapping[WorkerId, bytes] = field(repr=False)


class Attempt(Protocol):
    """One try at one round; its secrets end with it."""

    @property
    def kappa(self) -> bytes:
        """What U2 checks the sum with; empty before U2 is known, or where nothing is checked."""

    def answer(self, numbers: Numbers) -> tuple[Answer, dict[WorkerId, bytes]]:
        """Return the answer to the plan, and what is sealed for each other member."""

    def named(self, answers: Mapping[WorkerId, Answer], sealed: Mapping[WorkerId, bytes]) -> None:
        """Take U2, and what its members sealed for this one.

        Raises:
            RefusedError: it will not be in a sum with them.
        """

    def protect(self, layout: PayloadLayout, shards: Iterable[ShardBytes]) -> Iterator[ShardBytes]:
        """Yield the shards as they are sent.

        Raises:
            RefusedError: they were protected before.
        """

    def survived(self, survivors: tuple[WorkerId, ...]) -> bytes | None:
        """Take S; return this member's signature over it, None where none is needed to reveal.

        Raises:
            RefusedError: nothing is revealed for it.
        """

    def reveal(self, signatures: Mapping[WorkerId, bytes]) -> RevealedShares:
        """Return what takes the masks off the sum of S.

        Raises:
            RefusedError: nothing is revealed.
        """

    def abandon(self) -> bytes:
        """Return this member's signature that it will never reveal a share. It keeps its word."""


class Tier(Protocol):
    """What outlives a round."""

    @property
    def max_clip(self) -> float:
        """C_max: this worker's own bound on the length of its updates."""

    def sign_offer(self, offer: Offer) -> Offer:
        """Return the offer as it is sent; what belonged to the one before it is gone."""

    def begin(self, plan: Plan) -> Attempt:
        """Take part in a round: the open offer is used up.

        Raises:
            RefusedError: it will not.
        """

    def abandon(self, plan: Plan) -> bytes:
        """Return the same for a round of a former process, whose secrets went with it."""

    def read(self, record: Record) -> None:
        """Take what a record says before anything is decided about it."""

    def unread(self, records: Iterable[Record]) -> None:
        """Records were read and not followed: they may come otherwise."""

    def forget(self, records: Sequence[Record]) -> None:
        """Records were followed."""

    def heard(self, word: Attestation) -> None:
        """Take a member's word for what its round made.

        Raises:
            ProtocolError: nobody's word counts here.
        """

    def believes(self, record: Record, known: Visited, *, begun: bool) -> bool:
        """Return whether the version that a record makes or brings back is to be stood on."""

    def rollback_complaint(self, record: Record, last_seq: int) -> str:
        """Return why a roll-back is no operator's; "" if it is.

        Args:
            last_seq: of the newest roll-back before it; -1 = there was none.
        """

    def complaint(self, record: Record) -> str:
        """Return why nobody's word for a commit counts here; "" if nothing is wrong with them."""

    def word(self, record: Record) -> Attestation:
        """Return this worker's word for a commit's version: it has checked the sum and the step."""

    def newest_words(self) -> tuple[Attestation, ...]:
        """Return all words for the newest commit's version."""
