"""Checks (v): what workers of the masked tier let out, on the wire and on their disks, for ever.

Whatever a worker sends counts as received by a coordinator that forgets nothing, is in league with
any `c` of the workers, and now and later makes the best of it (`exposure.py`). Then

    under one pad      one worker, attempt and shard: one payload; one answer with what is sealed in
                       it; no key of an offer stands in another
    survivor lists     one member answers one list in one attempt, by signature or by shares
    kinds of share     of one member it reveals one kind, and none once it has abandoned
    sums               none of fewer than m - c honest members can be computed
    work               no step is in two sums; none is uploaded again unless the record of the round
                       that it was uploaded in shows that its masks stay on for ever
    marks              that a byte, or a share, may have been sent is durable before it is
    restarts           of an attempt, only the process that answered its plan sends anything but
                       Abandons

Each step has a number of its own over a worker's whole life, which the learner keeps in its books.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

from common import canonical
from common.documents import Algorithm, Answer, Offer, Plan, Record
from common.ids import RoundId, WorkerId
from common.secagg.labels import SignedPurpose
from common.secagg.transcript import abandon_content, identity_of, is_signed, list_content
from protos.v1 import session_pb2
from simulator.exposure import Exposure, Group

Steps = frozenset[int]


@dataclass(frozen=True)
class Marks:
    """Of a worker's unresolved round, as `round.Stage` has them; "" = there is none."""

    round: str = ""
    exposed: bool = False
    revealed: bool = False


@dataclass
class _Attempt:
    """One round, as it is seen.

    Args:
        boots: the process that answered, by worker.
        answers: what each sent.
        steps: of the work that each froze.
        shards: what each sent under its masks.
        lists: of survivors, that the coordinator named.
        answered: of these, those that each answered.
        shares: the kinds that each revealed of each other.
        abandoned: who said that it will reveal nothing.
        sums: which can be computed, and by which colluders.
    """

    plan: Plan
    exposure: Exposure
    boots: dict[WorkerId, str] = field(default_factory=dict)
    answers: dict[WorkerId, bytes] = field(default_factory=dict)
    steps: dict[WorkerId, Steps] = field(default_factory=dict)
    shards: dict[tuple[WorkerId, int], bytes] = field(default_factory=dict)
    lists: set[tuple[WorkerId, ...]] = field(default_factory=set)
    answered: dict[WorkerId, set[tuple[WorkerId, ...]]] = field(default_factory=dict)
    shares: dict[tuple[WorkerId, WorkerId], set[str]] = field(default_factory=dict)
    abandoned: set[WorkerId] = field(default_factory=set)
    sums: set[tuple[Group, Group]] = field(default_factory=set)
    record: Record | None = None


class Eavesdropper:
    """See the module docstring.

    Args:
        workers: all of the run.
        durable_marks: what a worker's disk would hold of its round after a power cut.
        broken: is told what is wrong.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        workers: Iterable[WorkerId],
        durable_marks: Callable[[WorkerId], Marks],
        broken: Callable[[str], None],
    ) -> None:
        self._fewest = algorithm.min_cohort - algorithm.colluding
        self._colluding = algorithm.colluding
        self._colluders = [frozenset(some) for some in combinations(workers, algorithm.colluding)]
        self._durable_marks = durable_marks
        self._broken = broken
        self._attempts: dict[RoundId, _Attempt] = {}
        self._offered: dict[str, tuple[WorkerId, str]] = {}

    # The coordinator says

    def told(self, message: session_pb2.ConnectResponse) -> None:
        """See a message to a worker."""
        match message.WhichOneof("message"):
            case "plan":
                plan = canonical.decode(message.plan.plan, Plan)
                if plan.round not in self._attempts:
                    self._attempts[plan.round] = _Attempt(plan, Exposure(plan.threshold))
            case "members":
                attempt = self._attempts[RoundId(message.members.round_id.hex())]
                attempt.exposure.u2 = frozenset(map(WorkerId, message.members.answers))
            case "survivors":
                attempt = self._attempts[RoundId(message.survivors.round_id.hex())]
                attempt.lists.add(tuple(map(WorkerId, message.survivors.survivors)))

    def recorded(self, record: Record) -> None:
        """See a record of the log."""
        outcome = record.abort if record.commit is None else record.commit.plan
        if outcome is not None and outcome.round in self._attempts:
            self._attempts[outcome.round].record = record

    # A worker says

    def sent(self, worker: WorkerId, boot: str, message: session_pb2.ConnectRequest) -> None:
        """See a message of a worker's process, whether or not it arrives."""
        match message.WhichOneof("message"):
            case "offer":
                self._offers(worker, canonical.decode(message.offer.offer, Offer))
            case "answer":
                self._answers(worker, boot, message.answer)
            case "signature":
                listed = message.signature
                if (attempt := self._attempt(worker, boot, listed.round_id)) is not None:
                    self._signs(worker, attempt, listed.signature)
            case "shares":
                if (attempt := self._attempt(worker, boot, message.shares.round_id)) is not None:
                    self._reveals(worker, attempt, message.shares.shares)
            case "abandon":
                attempt = self._attempts[RoundId(message.abandon.round_id.hex())]
                attempt.abandoned.add(worker)
                self._keeps_its_word(worker, attempt)

    def froze(self, worker: WorkerId, round_id: RoundId, steps: Steps) -> None:
        """See which steps a worker's trainer froze for a round."""
        self._attempts[round_id].steps[worker] = steps

    def uploads(
        self, worker: WorkerId, boot: str, round_id: RoundId, shards: Iterable[tuple[int, bytes]]
    ) -> None:
        """See shards of a worker's process, whether or not they arrive."""
        attempt = self._attempts[round_id]
        for index, content in shards:
            if attempt.shards.setdefault((worker, index), content) != content:
                self._break(f"{worker} sends two payloads under one pad: {_shard(attempt, index)}")
        self._is_the_same_process(worker, boot, attempt)
        if worker in attempt.exposure.uploaded:
            return
        attempt.exposure.uploaded.add(worker)
        marks = self._durable_marks(worker)
        if marks.round != round_id or not marks.exposed:
            self._break(f"{worker} uploads to {_name(attempt)} and may forget that it did")
        for other in self._attempts.values():
            self._exposes_anew(worker, attempt, other)
        self._make_the_best_of(attempt)

    def _break(self, sentence: str) -> None:
        self._broken(f"(v) {sentence}")

    # What is asked of each ------------------------------------------------------------------------

    def _offers(self, worker: WorkerId, offer: Offer) -> None:
        assert offer.keys is not None
        for key in (offer.keys.sealing, offer.keys.masking):
            if self._offered.setdefault(key, (worker, offer.nonce)) != (worker, offer.nonce):
                self._break(f"{worker} offers a key that was offered before")

    def _answers(self, worker: WorkerId, boot: str, message: session_pb2.SubmitAnswer) -> None:
        attempt = self._attempts[RoundId(message.round_id.hex())]
        attempt.boots.setdefault(worker, boot)
        content = message.SerializeToString(deterministic=True)
        if attempt.answers.setdefault(worker, content) != content:
            self._break(f"{worker} seals two messages under one key: {_name(attempt)}")
        self._is_the_same_process(worker, boot, attempt)
        attempt.exposure.answered.add(worker)
        said = canonical.decode(message.answer, Answer).numbers.steps
        if said != len(attempt.steps[worker]):
            self._break(
                f"{worker} says that {said} steps are in {_name(attempt)}, its books say "
                f"{len(attempt.steps[worker])}"
            )

    def _signs(self, worker: WorkerId, attempt: _Attempt, signature: bytes) -> None:
        plan, u2 = attempt.plan, tuple(sorted(attempt.exposure.u2))
        key = identity_of(plan, worker)
        for survivors in attempt.lists:
            content = list_content(plan, u2, survivors)
            if is_signed(key, "list", content, signature.hex()):
                self._answers_a_list(worker, attempt, survivors)
                return
        self._break(f"{worker} signs what is no list of survivors of {_name(attempt)}")

    def _reveals(
        self, worker: WorkerId, attempt: _Attempt, shares: Mapping[str, session_pb2.Share]
    ) -> None:
        marks = self._durable_marks(worker)
        if marks.round != attempt.plan.round or not marks.revealed:
            self._break(f"{worker} reveals shares of {_name(attempt)} and may forget that it did")
        survivors = []
        for name, share in shares.items():
            of, kind = WorkerId(name), share.WhichOneof("share") or ""
            kinds = attempt.shares.setdefault((worker, of), set())
            kinds.add(kind)
            if len(kinds) > 1:
                self._break(f"{worker} reveals both kinds of share of {of}: {_name(attempt)}")
            if kind == "own":
                survivors.append(of)
            e = attempt.exposure
            (e.own if kind == "own" else e.mask).setdefault(of, set()).add(worker)
        self._answers_a_list(worker, attempt, tuple(sorted(survivors)))
        self._keeps_its_word(worker, attempt)
        self._make_the_best_of(attempt)

    def _answers_a_list(
        self, worker: WorkerId, attempt: _Attempt, survivors: tuple[WorkerId, ...]
    ) -> None:
        lists = attempt.answered.setdefault(worker, set())
        lists.add(survivors)
        if len(lists) > 1:
            self._break(f"{worker} answers two lists of survivors of {_name(attempt)}")

    def _keeps_its_word(self, worker: WorkerId, attempt: _Attempt) -> None:
        revealed = any(by == worker for by, _ in attempt.shares)
        if revealed and worker in attempt.abandoned:
            self._break(f"{worker} abandons {_name(attempt)} and reveals shares of it")

    def _is_the_same_process(self, worker: WorkerId, boot: str, attempt: _Attempt) -> None:
        if attempt.boots.get(worker, boot) != boot:
            self._break(f"{worker} goes on with {_name(attempt)} after a restart")

    def _attempt(self, worker: WorkerId, boot: str, round_id: bytes) -> _Attempt | None:
        attempt = self._attempts[RoundId(round_id.hex())]
        self._is_the_same_process(worker, boot, attempt)
        return attempt

    # What the coordinator makes of it -------------------------------------------------------------

    def _exposes_anew(self, worker: WorkerId, attempt: _Attempt, former: _Attempt) -> None:
        """Work that was uploaded before may be, if what was said then can never be read."""
        again = attempt.steps[worker] & former.steps.get(worker, frozenset())
        if former is attempt or not again or worker not in former.exposure.uploaded:
            return
        if not self._is_freed(worker, former):
            self._break(
                f"{worker} uploads {len(again)} steps to {_name(attempt)} that are in "
                f"{_name(former)}, and nothing proves that they stay hidden there"
            )

    def _is_freed(self, worker: WorkerId, attempt: _Attempt) -> bool:
        """Return whether the record of a round proves that it will never tell of a worker."""
        record, plan = attempt.record, attempt.plan
        if record is None:
            return False
        if record.commit is not None:
            survivors = record.commit.survivors
            if worker in survivors:
                return False
            content = list_content(plan, tuple(sorted(attempt.exposure.u2)), survivors)
            signed = _signers(plan, "list", content, record.commit.signatures or {})
            return len(signed & set(survivors)) >= plan.threshold
        assert record.abort is not None
        content = abandon_content(plan)
        signed = _signers(plan, "abandon", content, record.abort.abandons or {})
        return len(signed) >= len(plan.offers) - plan.threshold + 1 + self._colluding

    def _make_the_best_of(self, attempt: _Attempt) -> None:
        for colluders in self._colluders:
            for group in attempt.exposure.sums(colluders & set(attempt.plan.roster)):
                if (colluders, group) in attempt.sums:
                    continue
                attempt.sums.add((colluders, group))
                if len(group) < self._fewest:
                    names = " + ".join(sorted(group))
                    self._break(f"{names} alone can be computed of {_name(attempt)}")
                for worker in group:
                    self._is_in_one_sum(worker, attempt, colluders)

    def _is_in_one_sum(self, worker: WorkerId, attempt: _Attempt, colluders: Group) -> None:
        for other in self._attempts.values():
            both = attempt.steps[worker] & other.steps.get(worker, frozenset())
            if other is attempt or not both:
                continue
            if any(by == colluders and worker in group for by, group in other.sums):
                self._break(
                    f"{len(both)} steps of {worker} are in two sums: {_name(attempt)} and "
                    f"{_name(other)}"
                )


def _signers(
    plan: Plan, purpose: SignedPurpose, content: bytes, signatures: Mapping[WorkerId, str]
) -> set[WorkerId]:
    return {
        worker
        for worker, signature in signatures.items()
        if worker in plan.roster
        and is_signed(identity_of(plan, worker), purpose, content, signature)
    }


def _name(attempt: _Attempt) -> str:
    return f"round {attempt.plan.round[:8]}"


def _shard(attempt: _Attempt, index: int) -> str:
    return f"shard {index} of {_name(attempt)}"
