"""The tls tier's part in a round: nothing is signed, sealed, hidden or asked back.

It stands where `worker/rounds/attempt.py` stands in the masked tier, so that the conduct of a round
(`worker/rounds/conduct.py`) is one and the same.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from common import canonical
from common.documents import Answer, Attestation, Numbers, Offer, Plan, Record
from common.errors import UnexpectedMessageError
from common.ids import WorkerId
from common.rounds import Rule
from common.shards import PayloadLayout, ShardBytes
from worker.rounds.round import RefusedError
from worker.rounds.tier import RevealedShares
from worker.rounds.visited import Visited

_NOTHING_IS_MASKED: Final = "nothing is masked in the tls tier"


class TlsAttempt:
    """See the module docstring."""

    kappa = b""

    def __init__(self, worker: WorkerId, plan: Plan) -> None:
        self._worker = worker
        self._plan = plan

    def answer(self, numbers: Numbers) -> tuple[Answer, dict[WorkerId, bytes]]:
        """Return the answer to the plan; nothing is sealed."""
        return Answer(canonical.digest(self._plan), self._worker, numbers), {}

    def named(self, answers: Mapping[WorkerId, Answer], sealed: Mapping[WorkerId, bytes]) -> None:
        """Take U2."""

    def protect(self, layout: PayloadLayout, shards: Iterable[ShardBytes]) -> Iterator[ShardBytes]:
        """Yield the shards as they are: nothing protects them from the coordinator."""
        yield from shards

    def survived(self, survivors: tuple[WorkerId, ...]) -> bytes | None:
        """Nobody asks for shares of what nothing masks.

        Raises:
            RefusedError: always (rule 11).
        """
        raise RefusedError(self._plan.round, Rule.SURVIVORS, _NOTHING_IS_MASKED)

    def reveal(self, signatures: Mapping[WorkerId, bytes]) -> RevealedShares:
        """There is nothing to reveal.

        Raises:
            RefusedError: always (rule 13).
        """
        raise RefusedError(self._plan.round, Rule.REVEAL, _NOTHING_IS_MASKED)

    def abandon(self) -> bytes:
        """Nothing is promised here, so nobody asks."""
        raise AssertionError(_NOTHING_IS_MASKED)


class TlsTier:
    """See the module docstring."""

    max_clip = float("inf")

    def __init__(self, worker: WorkerId) -> None:
        self._worker = worker

    def sign_offer(self, offer: Offer) -> Offer:
        """Return the offer as it is."""
        return offer

    def begin(self, plan: Plan) -> TlsAttempt:
        """Take part in a round."""
        return TlsAttempt(self._worker, plan)

    def abandon(self, plan: Plan) -> bytes:
        """Nothing is promised here, so nobody asks."""
        raise AssertionError(_NOTHING_IS_MASKED)

    def read(self, record: Record) -> None:
        """Take a record: nobody's word is in it."""

    def unread(self, records: Iterable[Record]) -> None:
        """Records were read and not followed."""

    def forget(self, records: Sequence[Record]) -> None:
        """Records were followed."""

    def heard(self, word: Attestation) -> None:
        """Nobody's word counts here.

        Raises:
            UnexpectedMessageError: always.
        """
        raise UnexpectedMessageError(f"{word.worker} vouches for a version in the tls tier")

    def believes(self, record: Record, known: Visited, *, begun: bool) -> bool:
        """Return whether a version is to be stood on: the coordinator is believed."""
        return True

    def rollback_complaint(self, record: Record, last_seq: int) -> str:
        """Return nothing: the coordinator is believed."""
        return ""

    def complaint(self, record: Record) -> str:
        """Return nothing: nobody asks who a member is."""
        return ""

    def word(self, record: Record) -> Attestation:
        """Nobody checks a sum here, so nobody asks."""
        raise AssertionError(f"record {record.seq} has no tags to check")

    def newest_words(self) -> tuple[Attestation, ...]:
        """Return nothing."""
        return ()
