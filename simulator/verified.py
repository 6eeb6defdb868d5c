"""Checks (viii): no worker stands on, trains, offers or vouches for an unbelieved version.

Believed is what the true log holds and, in the masked tier, what enough members of its round have
said on the wire that they checked. This looks from outside: at what trainers are given, and at what
workers send, whatever the coordinator told them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from common import canonical
from common.documents import Answer, Attestation, Genesis, Offer, Plan, Record, Version
from common.ids import Digest, WorkerId
from common.words import agreement, is_word, run_state
from protos.v1 import session_pb2

Stand = tuple[int, Digest]
"""A version's number and digest."""


class Verified:
    """See the module docstring.

    Args:
        version0: the first version.
        broken: is told what is wrong.
    """

    def __init__(self, genesis: Genesis, version0: Version, broken: Callable[[str], None]) -> None:
        self._genesis = genesis
        self._broken = broken
        self._theta: dict[int, set[tuple[Digest, ...]]] = {0: {version0.theta}}
        self._true: set[Stand] = {(0, genesis.version0)}
        self._made: dict[Stand, Record] = {}
        self._said: dict[Stand, set[WorkerId]] = {}
        self._plans: dict[Digest, Plan] = {}

    def recorded(self, record: Record, version: Callable[[], Version]) -> None:
        """See a record of the true log; `version` reads what it makes or brings back."""
        if record.commit is None and record.rollback is None:
            return
        stand = record.version, record.digest
        if stand in self._true:
            return
        self._true.add(stand)
        self._theta.setdefault(record.version, set()).add(version().theta)
        if record.commit is not None:
            self._made[stand] = record

    def told(self, message: session_pb2.ConnectResponse) -> None:
        """See a true message of a coordinator."""
        if message.WhichOneof("message") == "plan":
            plan = canonical.decode(message.plan.plan, Plan)
            self._plans[canonical.digest(plan)] = plan

    def sent(self, worker: WorkerId, message: session_pb2.ConnectRequest) -> None:
        """See a message of a worker."""
        match message.WhichOneof("message"):
            case "offer":
                offer = canonical.decode(message.offer.offer, Offer)
                self._stands(f"{worker} offers on", (offer.version, offer.digest))
            case "answer":
                answer = canonical.decode(message.answer.answer, Answer)
                if (plan := self._plans.get(answer.plan)) is not None:
                    self._stands(f"{worker} answers on", (plan.version, plan.digest))
            case "attest":
                word = canonical.decode(message.attest.attestation, Attestation)
                if word.worker == worker:
                    self._vouches(worker, word)

    def given(self, worker: WorkerId, version: int, segments: Sequence[str]) -> None:
        """See which segments a trainer is given, and as which version."""
        theta = tuple(Digest(Path(segment).name) for segment in segments)
        if theta not in self._theta.get(version, set()):
            self._broken(f"(viii) {worker} trains on a version {version} that is in no true log")
            return
        stands = [s for s in self._true if s[0] == version]
        for stand in stands:
            self._stands(f"{worker} trains on", stand)

    def _vouches(self, worker: WorkerId, word: Attestation) -> None:
        stand = word.version, word.digest
        record = self._made.get(stand)
        if record is None:
            self._broken(f"(viii) {worker} vouches for {_name(stand)}, which is in no true log")
            return
        assert record.commit is not None
        if is_word(record.commit.plan, word) and word.state == run_state(record):
            self._said.setdefault(stand, set()).add(worker)

    def _stands(self, who: str, stand: Stand) -> None:
        if stand not in self._true:
            self._broken(f"(viii) {who} {_name(stand)}, which is in no true log")
        elif (record := self._made.get(stand)) is not None:
            assert record.commit is not None
            needed = agreement(self._genesis, record.commit.plan)
            if (num := len(self._said.get(stand, set()))) < needed:
                self._broken(f"(viii) {who} {_name(stand)} on {num} words, {needed} are needed")


def _name(stand: Stand) -> str:
    return f"version {stand[0]} {stand[1][:8]}"
