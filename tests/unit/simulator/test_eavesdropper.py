"""What an eavesdropper says of members that let out too much; of others it says nothing."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pytest

from common import canonical
from common.documents import Abort, Answer, Commit, Counters, Plan, Record, SideValues
from common.ids import Digest, RoundId, WorkerId
from common.secagg.transcript import abandon_content, list_content
from protos.v1 import session_pb2
from services.worker.convert import request_of
from simulator.eavesdropper import Eavesdropper, Marks
from tests.rig.rounds.masked_members import MASKED, Cloud, signer
from tests.rig.rounds.masked_round import plan_of
from tests.rig.rounds.small_run import NUMBERS, WORKERS, Run

A, B, C, D = WORKERS
STEPS = frozenset(range(1, NUMBERS.steps + 1))
SHARDS = [(0, b"values"), (1, b"side-values")]


@dataclass
class Seen:
    """One eavesdropper, and what members of rounds do before its eyes."""

    said: list[str] = field(default_factory=list)
    marks: dict[WorkerId, Marks] = field(default_factory=dict)
    run: Run = field(default_factory=lambda: Run(MASKED))
    rounds: int = 0
    colluding: int = 0

    def __post_init__(self) -> None:
        algorithm = replace(MASKED, colluding=self.colluding, min_cohort=3 + self.colluding)
        self.eavesdropper = Eavesdropper(
            algorithm, WORKERS, self.marks.__getitem__, self.said.append
        )
        self.clouds = {w: Cloud(w, MASKED) for w in WORKERS}

    def open(self, u2: Iterable[WorkerId] = WORKERS) -> Plan:
        """Bring a round as far as Members."""
        self.rounds += 1
        plan = plan_of(self.run, self.clouds, nonce=str(self.rounds))
        plan = replace(plan, round=RoundId(f"{self.rounds:032x}"))
        content = canonical.encode(plan)
        self.eavesdropper.told(session_pb2.ConnectResponse(plan=session_pb2.Plan(plan=content)))
        for worker in u2:
            self.eavesdropper.froze(worker, plan.round, STEPS)
            self.answer(worker, plan)
        members = session_pb2.Members(round_id=bytes.fromhex(plan.round))
        members.answers.update(dict.fromkeys(u2, b""))
        self.eavesdropper.told(session_pb2.ConnectResponse(members=members))
        return plan

    def answer(self, worker: WorkerId, plan: Plan, sealed: bytes = b"", boot: str = "1") -> None:
        answer = canonical.encode(Answer(canonical.digest(plan), worker, NUMBERS))
        submit = session_pb2.SubmitAnswer(round_id=bytes.fromhex(plan.round), answer=answer)
        submit.sealed["other"] = sealed
        self.eavesdropper.sent(worker, boot, session_pb2.ConnectRequest(answer=submit))

    def upload(
        self,
        worker: WorkerId,
        plan: Plan,
        shards: list[tuple[int, bytes]] = SHARDS,
        *,
        boot: str = "1",
        exposed: bool = True,
    ) -> None:
        self.marks[worker] = Marks(plan.round, exposed)
        self.eavesdropper.uploads(worker, boot, plan.round, shards)

    def name(self, plan: Plan, survivors: Iterable[WorkerId]) -> None:
        named = session_pb2.Survivors(round_id=bytes.fromhex(plan.round), survivors=survivors)
        self.eavesdropper.told(session_pb2.ConnectResponse(survivors=named))

    def sign(self, worker: WorkerId, plan: Plan, survivors: Iterable[WorkerId]) -> None:
        content = list_content(plan, WORKERS, tuple(survivors))
        signature = signer(worker)("list", content)
        submit = session_pb2.SubmitSignature(
            round_id=bytes.fromhex(plan.round), signature=signature
        )
        self.eavesdropper.sent(worker, "1", session_pb2.ConnectRequest(signature=submit))

    def reveal(
        self, worker: WorkerId, plan: Plan, survivors: Iterable[WorkerId], *, noted: bool = True
    ) -> None:
        self.marks[worker] = Marks(plan.round, exposed=True, revealed=noted)
        shares = {str(w): session_pb2.Share(mask=b"share") for w in WORKERS}
        shares |= {str(w): session_pb2.Share(own=b"share") for w in survivors}
        submit = session_pb2.SubmitShares(round_id=bytes.fromhex(plan.round), shares=shares)
        self.eavesdropper.sent(worker, "1", session_pb2.ConnectRequest(shares=submit))

    def abandon(self, worker: WorkerId, plan: Plan) -> str:
        signature = signer(worker)("abandon", abandon_content(plan))
        abandon = session_pb2.Abandon(round_id=bytes.fromhex(plan.round), signature=signature)
        self.eavesdropper.sent(worker, "1", session_pb2.ConnectRequest(abandon=abandon))
        return signature.hex()

    def abort(self, plan: Plan, abandons: dict[WorkerId, str]) -> None:
        abort = Abort(plan.round, plan.roster, "below_threshold", "", abandons)
        self.eavesdropper.recorded(replace(RECORD, abort=abort))

    def commit(
        self, plan: Plan, survivors: tuple[WorkerId, ...], signed: dict[WorkerId, str]
    ) -> None:
        numbers = dict.fromkeys(WORKERS, NUMBERS)
        commit = Commit(plan, numbers, survivors, SideValues(1, 1, 0), Digest("aa" * 32), 1, signed)
        self.eavesdropper.recorded(replace(RECORD, commit=commit))


RECORD = Record(1, Digest(""), 0, 0, 1, Digest(""), 0.0, Counters())


@pytest.fixture
def seen() -> Seen:
    return Seen()


def test_whole_rounds_with_and_without_a_loss_are_fine(seen: Seen) -> None:
    for survivors in (WORKERS, (A, B, C)):
        plan = seen.open()
        for worker in WORKERS:
            seen.eavesdropper.froze(worker, plan.round, frozenset({100 * seen.rounds}))
        for worker in survivors:
            seen.upload(worker, plan)
            seen.upload(worker, plan)
        seen.name(plan, survivors)
        for worker in survivors:
            if survivors != WORKERS:
                seen.sign(worker, plan, survivors)
            seen.reveal(worker, plan, survivors)
            seen.reveal(worker, plan, survivors)
    assert seen.said == []


def test_other_bytes_for_one_shard(seen: Seen) -> None:
    plan = seen.open()
    seen.upload(A, plan)
    seen.upload(A, plan, [(1, b"SIDE VALUES")])
    assert seen.said == ["(v) aws sends two payloads under one pad: shard 1 of round 00000000"]


def test_another_process_goes_on(seen: Seen) -> None:
    plan = seen.open()
    seen.upload(A, plan, boot="2")
    assert seen.said == ["(v) aws goes on with round 00000000 after a restart"]


def test_another_message_sealed_under_one_key(seen: Seen) -> None:
    plan = seen.open()
    seen.answer(A, plan)
    seen.answer(A, plan, sealed=b"other")
    assert seen.said == ["(v) aws seals two messages under one key: round 00000000"]


def test_work_that_is_not_what_the_books_say(seen: Seen) -> None:
    plan = seen.open()
    seen.eavesdropper.froze(A, plan.round, frozenset({1, 2}))
    seen.answer(A, plan)
    assert "(v) aws says that 20 steps are in round 00000000, its books say 2" in seen.said


def test_a_key_in_two_offers(seen: Seen) -> None:
    plan = seen.open()
    (first, *_) = plan.offers
    for offer in (first, first, replace(first, nonce="another")):
        seen.eavesdropper.sent(A, "1", request_of(offer))
    assert set(seen.said) == {"(v) aws offers a key that was offered before"}


def test_an_upload_that_a_power_cut_would_make_undone(seen: Seen) -> None:
    seen.upload(A, seen.open(), exposed=False)
    assert seen.said == ["(v) aws uploads to round 00000000 and may forget that it did"]


def test_shares_that_a_power_cut_would_make_undone(seen: Seen) -> None:
    seen.reveal(A, seen.open(), WORKERS, noted=False)
    assert seen.said == ["(v) aws reveals shares of round 00000000 and may forget that it did"]


def test_two_lists_one_signed_and_one_answered_by_shares(seen: Seen) -> None:
    plan = seen.open()
    for survivors in ((A, B, C), (A, B, D)):
        seen.name(plan, survivors)
    seen.sign(A, plan, (A, B, C))
    seen.sign(A, plan, (A, B, C))
    assert seen.said == []
    seen.reveal(A, plan, (A, B, D))
    assert seen.said == ["(v) aws answers two lists of survivors of round 00000000"]


def test_a_list_that_nobody_named(seen: Seen) -> None:
    seen.sign(A, seen.open(), (A, B, C))
    assert seen.said == ["(v) aws signs what is no list of survivors of round 00000000"]


def test_both_kinds_of_share_of_one_member(seen: Seen) -> None:
    plan = seen.open()
    seen.reveal(A, plan, WORKERS)
    seen.reveal(A, plan, (A, B, C))
    assert "(v) aws reveals both kinds of share of onprem: round 00000000" in seen.said


@pytest.mark.parametrize("first", ["abandon", "reveal"])
def test_shares_of_an_abandoned_round(seen: Seen, first: str) -> None:
    plan = seen.open()
    for what in (first, "reveal" if first == "abandon" else "abandon"):
        if what == "abandon":
            seen.abandon(A, plan)
        else:
            seen.reveal(A, plan, WORKERS)
    assert seen.said == ["(v) aws abandons round 00000000 and reveals shares of it"]


def test_a_sum_of_too_few(seen: Seen) -> None:
    plan = seen.open()
    for worker in WORKERS:
        seen.upload(worker, plan)
    for worker in (A, B, C):
        seen.reveal(worker, plan, (A, B, C))
    for worker in (B, C, D):  # those who answer are not those who did
        seen.reveal(worker, plan, WORKERS)
    assert "(v) onprem alone can be computed of round 00000000" in seen.said


def test_with_a_colluder_fewer_shares_are_enough() -> None:
    said = []
    for colluding in (0, 1):
        seen = Seen(colluding=colluding)
        plan = seen.open()
        for worker in WORKERS:
            seen.upload(worker, plan)
        for worker in (A, B):
            seen.reveal(worker, plan, (A, B, C))
        said.append(seen.said)
    assert said == [[], ["(v) aws + azure alone can be computed of round 00000000"]]  # by gcp


def test_work_of_a_round_that_ended_unproved_is_uploaded_again(seen: Seen) -> None:
    first = seen.open()
    seen.upload(A, first)
    seen.abort(first, {B: seen.abandon(B, first)})
    seen.upload(A, seen.open())
    assert seen.said == [
        "(v) aws uploads 20 steps to round 00000000 that are in round 00000000, and nothing proves "
        "that they stay hidden there"
    ]


@pytest.mark.parametrize("proof", ["abandons", "signatures"])
def test_work_of_a_round_whose_masks_stay_on_may_be_uploaded_again(seen: Seen, proof: str) -> None:
    first = seen.open()
    seen.upload(A, first)
    if proof == "abandons":
        seen.abort(first, {w: seen.abandon(w, first) for w in (B, C)})
    else:
        content = list_content(first, WORKERS, (B, C, D))
        signed = {w: signer(w)("list", content).hex() for w in (B, C, D)}
        seen.commit(first, (B, C, D), signed)
    seen.upload(A, seen.open())
    assert seen.said == []


def test_forged_and_repeated_proofs_prove_nothing(seen: Seen) -> None:
    first = seen.open()
    seen.upload(A, first)
    true = seen.abandon(B, first)
    seen.abort(first, {B: true, C: true, WorkerId("stranger"): true})
    seen.upload(A, seen.open())
    assert len(seen.said) == 1


def test_work_in_two_sums(seen: Seen) -> None:
    for _ in range(2):
        plan = seen.open()
        for worker in WORKERS:
            seen.upload(worker, plan)
        for worker in (A, B, C):
            seen.reveal(worker, plan, WORKERS)
    assert "(v) 20 steps of aws are in two sums: round 00000000 and round 00000000" in seen.said
