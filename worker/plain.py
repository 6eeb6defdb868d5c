"""The tls tier's part in a round: nothing is signed, sealed, hidden or asked back.

It stands where `worker/masking.py` stands in the masked tier, so that the conduct of a round
(`services/worker/agent.py`) is one and the same.
"""

from collections.abc import Iterable, Iterator, Mapping

from common import canonical
from common.documents import Answer, Attestation, Numbers, Offer, Plan, Record
from common.errors import UnexpectedMessageError
from common.ids import Digest, WorkerId
from common.shards import PayloadLayout, Piece


class PlainAttempt:
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

    def veil(self, layout: PayloadLayout, shards: Iterable[Piece]) -> Iterator[Piece]:
        """Yield the shards as they are."""
        yield from shards


class PlainTier:
    """See the module docstring."""

    max_clip = float("inf")

    def __init__(self, worker: WorkerId) -> None:
        self._worker = worker

    def sign_offer(self, offer: Offer) -> Offer:
        """Return the offer as it is."""
        return offer

    def begin(self, plan: Plan) -> PlainAttempt:
        """Take part in a round."""
        return PlainAttempt(self._worker, plan)

    def vouched(self, version: int, digest: Digest) -> bool:
        """Return whether a version may be adopted: the coordinator is believed."""
        return True

    def rollback_complaint(self, record: Record, last_seq: int) -> str:
        """Return nothing: the coordinator is believed."""
        return ""

    def attestation(self, version: int, digest: Digest) -> Attestation | None:
        """Return nothing: nobody asks."""
        return None

    def heard(self, attestation: Attestation) -> None:
        """Nobody attests anything here.

        Raises:
            UnexpectedMessageError: always.
        """
        raise UnexpectedMessageError(f"{attestation.worker} attests a version in the tls tier")
