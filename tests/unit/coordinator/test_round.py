from dataclasses import replace
from itertools import product

import pytest

from common import canonical
from common.documents import Algorithm, Answer, Commit, Numbers, Offer, SideValues
from common.errors import BadNumbersError, NotAMemberError, UnexpectedMessageError
from common.ids import Digest, RoundId, SessionId, WorkerId
from common.rounds import AbortReason, LeaveReason, Phase
from coordinator.ports import Compute, Computed, LeftOut, OpenSpool, Save, Seal, Send
from coordinator.round import NEXT_PHASES, Round
from tests.rig.rounds.run_script import numbers
from tests.rig.rounds.small_run import Run

A, B, C, D = (WorkerId(x) for x in ("aws", "azure", "gcp", "onprem"))
ID = RoundId("0" * 32)
RESOLVE_TIMEOUT_S = 20.0
RUN = Run()


def new_round(*workers: WorkerId, threshold: int = 2) -> Round:
    """Return a round that has just told its members of the plan, at 0 s."""
    offers = (Offer("small", w, "b1", w, *RUN.head, 2000, 0.04, 0, 20, 100, 0) for w in workers)
    waits = {"key_timeout_s": 5.0, "upload_timeout_s": 30.0}
    plan = RUN.draft(0, offers, threshold=threshold, live_speed=400, num_live=4, **waits)
    sessions = {w: SessionId(f"{w}-1") for w in workers}
    r = Round(plan, Algorithm(), 1, sessions, RESOLVE_TIMEOUT_S)
    r.open(0.0)
    return r


def answer(r: Round, worker: WorkerId, of: Numbers | None = None) -> None:
    r.answer(worker, Answer(canonical.digest(r.plan), worker, of or numbers()), {})


def collecting(*workers: WorkerId, threshold: int = 2) -> Round:
    r = new_round(*workers, threshold=threshold)
    for w in workers:
        answer(r, w)
    r.advance(1.0)
    r.open_uploads(1.0)
    assert r.phase is Phase.COLLECT_MASKED
    return r


def sealing(*workers: WorkerId) -> Round:
    r = collecting(*workers)
    for w in workers:
        r.upload(w)
    r.advance(2.0)
    assert r.phase is Phase.UNMASK
    return r


def test_the_table_leads_from_offers_to_one_of_two_ends() -> None:
    ends = {phase for phase, after in NEXT_PHASES.items() if not after}

    assert ends == {Phase.COMMITTED, Phase.ABORTED}
    for phase in (Phase.SHARE_KEYS, Phase.COLLECT_MASKED, Phase.UNMASK):
        assert Phase.ABORTED in NEXT_PHASES[phase]


@pytest.mark.parametrize(("phase", "to"), list(product(Phase, Phase)))
def test_a_transition_that_is_not_in_the_table_is_our_own_bug(phase: Phase, to: Phase) -> None:
    r = new_round(A, B)
    r.phase = phase
    if to in NEXT_PHASES[phase]:
        assert r._next(to) is to
    else:
        with pytest.raises(AssertionError):
            r._next(to)


def test_a_phase_is_saved_before_its_members_hear_of_it() -> None:
    r = new_round(A, B)
    answer(r, A)
    assert r.advance(1.0) == ()
    answer(r, B)

    effects = r.advance(1.0)

    assert [type(e) for e in effects] == [Save, OpenSpool]


def test_members_hear_of_the_uploads_once_the_spool_takes_them_and_have_their_time_from_then() -> (
    None
):
    r = new_round(A, B, C)
    for w in (A, B, C):
        answer(r, w)
    r.advance(1.0)

    with pytest.raises(UnexpectedMessageError, match="before the members are known"):
        r.upload(A)
    assert r.rejoin(A, SessionId("a-2")) == ()
    r.lose(C, LeaveReason.SILENT)
    r.advance(9.0)

    told = r.open_uploads(10.0)

    assert [s.session for s in told if isinstance(s, Send)] == ["a-2", f"{B}-1"]
    assert r.deadline_s == 10.0 + r.plan.upload_timeout_s
    assert r.open_uploads(20.0) == ()
    assert r.deadline_s == 10.0 + r.plan.upload_timeout_s


def test_a_round_with_too_few_left_ends_before_its_deadline() -> None:
    r = collecting(A, B, C)
    r.lose(A, LeaveReason.SILENT)
    assert r.advance(2.0) == ()
    assert r.outcome is None
    r.lose(B, LeaveReason.SILENT)

    r.advance(2.0)

    assert r.phase is Phase.ABORTED
    assert r.outcome is not None
    assert r.spool_open


def test_late_numbers_leave_a_member_out_and_late_uploads_are_the_listings_to_tell() -> None:
    r = new_round(A, B, C, D, threshold=2)
    for w in (A, B, C):
        answer(r, w)
    assert r.advance(4.9) == ()
    r.advance(5.0)
    assert r.left == {D: LeftOut(ID, D, LeaveReason.LATE_ANSWER)}
    r.open_uploads(5.0)

    r.upload(A)
    assert r.advance(34.9) == ()
    save, seal = r.advance(35.0)
    assert isinstance(save, Save)
    assert seal == Seal(ID)
    r.upload(B)  # complete just before the seal; its word was late, not its bytes

    _, compute = r.seal((A, B), 36.0)

    assert isinstance(compute, Compute)
    assert compute.survivors == (A, B)
    assert compute.numbers.keys() == {A, B, C}  # of U2: weights are computed over all of them
    assert r.left[C] == LeftOut(ID, C, LeaveReason.LATE_UPLOAD)


@pytest.mark.parametrize("changed", ["survivors", "plan"])
def test_a_version_of_another_sum_is_our_own_bug_and_changes_nothing(changed: str) -> None:
    r = collecting(A, B, C)
    for w in (A, B, C):
        r.upload(w)
    r.advance(2.0)
    r.seal((A, B, C), 3.0)
    right = Commit(r.plan, {}, (A, B, C), SideValues(3, 0, 0), Digest("1" * 64), 1)
    other = {"plan": replace(right, plan=replace(r.plan, num_live=9))}
    wrong = other.get(changed, replace(right, survivors=(A, B)))

    with pytest.raises(AssertionError, match="other members"):
        r.compute(Computed(ID, wrong, Digest("2" * 64)))

    assert r.phase is Phase.UNMASK
    r.compute(Computed(ID, right, Digest("2" * 64)))
    assert r.phase is Phase.COMMITTED


def test_a_listed_upload_of_a_member_that_was_left_out_is_not_summed() -> None:
    r = collecting(A, B, C)
    r.upload(A)
    r.upload(B)
    r.lose(C, LeaveReason.RESTARTED)
    r.advance(2.0)

    _, compute = r.seal((A, B, C), 3.0)

    assert isinstance(compute, Compute)
    assert compute.survivors == (A, B)


def test_a_complete_upload_outlives_its_worker_unless_it_is_expelled() -> None:
    r = collecting(A, B, C)
    r.upload(A)
    r.upload(B)

    r.lose(A, LeaveReason.SILENT)
    r.lose(B, LeaveReason.EXPELLED)

    assert r.members == {A, C}


@pytest.mark.parametrize("reason", [LeaveReason.SILENT, LeaveReason.EXPELLED])
def test_once_sealed_nobody_leaves_the_sum(reason: LeaveReason) -> None:
    r = collecting(A, B, C)
    for w in (A, B):
        r.upload(w)
    r.advance(31.0)
    r.seal((A, B, C), 32.0)  # the word of C's upload has not come yet

    r.lose(C, reason)
    r.lose(A, reason)

    assert r.survivors == (A, B, C)
    assert r.advance(33.0) == ()
    assert r.phase is Phase.UNMASK


def test_the_same_seal_again_changes_nothing() -> None:
    r = sealing(A, B)
    assert len(r.seal((A, B), 3.0)) == 2

    assert r.seal((A,), 4.0) == ()
    assert r.survivors == (A, B)


def test_a_refusal_counts_at_once_and_only_once() -> None:
    r = new_round(A, B, C)
    r.refuse(C, 15, "nothing pending")
    r.refuse(C, 15, "nothing pending")

    with pytest.raises(NotAMemberError, match="refused by rule 15: nothing pending"):
        answer(r, C)
    assert r.waiting_for() == (A, B)


def test_a_member_may_refuse_until_its_upload_is_complete() -> None:
    r = collecting(A, B, C)
    r.refuse(C, 9, "its own numbers are not as sent")

    assert r.members == {A, B}
    assert set(r.numbers) == {A, B, C}


def test_numbers_that_no_honest_member_sends_are_refused() -> None:
    r = new_round(A, B)

    for wrong in (
        replace(numbers(), tokens=0),
        replace(numbers(), lr_sum=0.0),
        replace(numbers(), staleness_65535=0),
        replace(numbers(), age_256=8 * 256 + 1),
    ):
        with pytest.raises(BadNumbersError):
            answer(r, A, wrong)
    assert r.waiting_for() == (A, B)


def test_an_abort_says_who_was_left_out_and_why() -> None:
    r = new_round(A, B, C)
    r.refuse(B, 15, "NaN")
    r.lose(C, LeaveReason.SILENT, "not heard for 10.1 s")
    r.advance(1.0)

    assert r.outcome is not None
    assert getattr(r.outcome, "reason", "") == AbortReason.BELOW_THRESHOLD.value
    assert getattr(r.outcome, "detail", "") == (
        "members left: 1, needed: 2 (azure: refused by rule 15: NaN; gcp: not heard for 10.1 s)"
    )
    assert not r.spool_open
