from dataclasses import replace

import pytest

from common import canonical
from common.documents import (
    Abort,
    Answer,
    Commit,
    Counters,
    Numbers,
    Offer,
    Plan,
    Record,
    Rollback,
    SideValues,
    Takeover,
)
from common.errors import BadCommitError
from common.ids import Digest, RoundId, WorkerId
from common.rounds import Rule
from tests.rig.rounds.member import refused
from worker.rounds.round import Fate, Stage, WorkerRound, WorkState

A, B, C = (WorkerId(w) for w in ("aws", "azure", "gcp"))
HEAD = Digest("1" * 64)
SEQ = 5
NUMBERS = Numbers(1000, 1.0, 0, 65535, 10, 10)
NOTHING = Numbers(0, 0.0, 0, 65535, 0, 0)
ROUND = RoundId("a" * 32)


def offer(worker: WorkerId, nonce: str = "n") -> Offer:
    return Offer("run", worker, "boot", nonce, 3, HEAD, 1, 1.0, 0, 1, 1, 0)


PLAN = Plan(
    "run", ROUND, "tls", 3, HEAD, 0, 8, 2, 10, 3, 0.0, 1.0, 1.0, (offer(A), offer(B), offer(C))
)


def answer(worker: WorkerId, numbers: Numbers = NUMBERS) -> Answer:
    return Answer(canonical.digest(PLAN), worker, numbers)


ANSWERS = {A: answer(A), B: answer(B)}


def record(commit: Commit | None = None, abort: Abort | None = None) -> Record:
    return Record(SEQ, HEAD, 0, 0, 4, HEAD, 0.0, Counters(), commit=commit, abort=abort)


def committed(*survivors: WorkerId, plan: Plan = PLAN) -> Record:
    return record(Commit(plan, {}, survivors, SideValues(1, 1, 0), HEAD, 1))


@pytest.fixture
def offered() -> WorkerRound:
    r = WorkerRound(A, 0)
    r.offer = offer(A)
    return r


@pytest.fixture
def staged(offered: WorkerRound) -> WorkerRound:
    offered.accept(PLAN, 3, HEAD, SEQ)
    offered.close(NUMBERS, finite=True, max_staleness=8)
    offered.answered(answer(A))
    return offered


def test_a_round_goes_from_free_to_staged_to_exposed_to_contributed(offered: WorkerRound) -> None:
    assert offered.work is WorkState.FREE
    offered.accept(PLAN, 3, HEAD, SEQ)
    assert offered.work is WorkState.STAGED
    assert offered.offer is None
    offered.close(NUMBERS, finite=True, max_staleness=8)
    offered.answered(answer(A))
    assert offered.name(ROUND, ANSWERS)
    offered.expose(ANSWERS, b"")
    assert offered.work is WorkState.EXPOSED
    assert offered.resolve(committed(A, B)) is Fate.CONTRIBUTED
    assert offered.work is WorkState.FREE


def test_work_that_a_commit_does_not_name_is_free_again(staged: WorkerRound) -> None:
    assert staged.resolve(committed(B, C)) is Fate.FREE
    assert staged.work is WorkState.FREE


def test_an_abort_frees_the_work(staged: WorkerRound) -> None:
    assert staged.resolve(record(abort=Abort(ROUND, (A, B), "stopped", ""))) is Fate.FREE


def test_a_new_leader_frees_the_work_of_every_round_before_it(staged: WorkerRound) -> None:
    takeover = replace(record(), takeover=Takeover("b"))
    assert staged.resolve(takeover) is Fate.FREE
    assert staged.work is WorkState.FREE


def test_a_record_from_before_the_stage_says_nothing_of_it(staged: WorkerRound) -> None:
    # After a restart the log is read again from the save on, which may be older than the stage.
    takeover = replace(record(), seq=SEQ - 1, takeover=Takeover("b"))
    assert staged.resolve(takeover) is None
    assert staged.work is WorkState.STAGED


def test_a_roll_back_spends_the_work_and_voids_the_open_offer(staged: WorkerRound) -> None:
    rollback = replace(record(), rollback=Rollback(1, 1, "ann"))
    staged.offer = offer(A, "next")
    assert staged.resolve(rollback) is Fate.SPENT
    assert (staged.work, staged.offer) == (WorkState.FREE, None)
    assert staged.resolve(rollback) is None


def test_other_records_that_are_no_commit_change_nothing(staged: WorkerRound) -> None:
    assert staged.resolve(record(abort=Abort(RoundId("b" * 32), (A,), "stopped", ""))) is None
    assert staged.resolve(record()) is None
    assert staged.work is WorkState.STAGED


def test_a_commit_of_another_round_ends_this_one(staged: WorkerRound) -> None:
    # One round is open at a time: a coordinator that restarted has lost this one.
    other = replace(PLAN, round=RoundId("b" * 32))
    assert staged.resolve(committed(A, B, plan=other)) is Fate.FREE
    assert staged.work is WorkState.FREE


@pytest.mark.parametrize("open_offer", [None, offer(A, "another"), offer(B)])
def test_a_plan_without_the_own_open_offer_is_refused(open_offer: Offer | None) -> None:
    r = WorkerRound(A, 0)
    r.offer = open_offer
    with refused(Rule.OFFER):
        r.accept(PLAN, 3, HEAD, SEQ)
    assert (r.work, r.offer) == (WorkState.FREE, open_offer)


def test_an_offer_is_used_up_by_the_first_plan(staged: WorkerRound) -> None:
    staged.resolve(record(abort=Abort(ROUND, (A, B), "stopped", "")))
    with refused(Rule.OFFER):
        staged.accept(PLAN, 3, HEAD, SEQ)


@pytest.mark.parametrize("base", [(2, HEAD), (3, Digest("2" * 64))])
def test_a_plan_on_another_base_is_refused(offered: WorkerRound, base: tuple[int, Digest]) -> None:
    with refused(Rule.HEAD):
        offered.accept(PLAN, *base, SEQ)
    assert offered.offer is not None


def test_a_second_plan_before_the_first_one_s_outcome_is_refused(staged: WorkerRound) -> None:
    staged.offer = offer(A)
    with refused(Rule.UNRESOLVED):
        staged.accept(PLAN, 3, HEAD, SEQ)


@pytest.mark.parametrize(
    ("numbers", "finite", "sentence"),
    [
        (NUMBERS, False, "NaN or infinity"),
        (NOTHING, True, "no work"),
        (replace(NUMBERS, age_256=2049), True, "commits old"),
    ],
)
def test_work_that_must_not_count_is_refused(
    offered: WorkerRound, numbers: Numbers, finite: bool, sentence: str
) -> None:
    offered.accept(PLAN, 3, HEAD, SEQ)
    with refused(Rule.OWN_UPDATE) as caught:
        offered.close(numbers, finite=finite, max_staleness=8)
    assert sentence in str(caught.value)
    assert offered.work is WorkState.FREE


@pytest.mark.parametrize(
    ("round_id", "answers", "sentence"),
    [
        (RoundId("b" * 32), ANSWERS, "another round"),
        (ROUND, {B: answer(B), C: answer(C)}, "own answer"),
        (ROUND, {A: answer(A, replace(NUMBERS, tokens=1)), B: answer(B)}, "own answer"),
        (ROUND, {A: answer(A), WorkerId("mallory"): answer(B)}, "not in the plan"),
        (ROUND, {A: answer(A)}, "threshold is 2"),
    ],
)
def test_members_that_are_not_in_order_are_refused_and_nothing_is_sent(
    staged: WorkerRound, round_id: RoundId, answers: dict[WorkerId, Answer], sentence: str
) -> None:
    with refused(Rule.MEMBERS) as caught:
        staged.name(round_id, answers)
    assert sentence in str(caught.value)
    assert staged.work is WorkState.STAGED


def test_members_that_come_again_are_no_news_and_others_are_refused(staged: WorkerRound) -> None:
    staged.expose(ANSWERS, b"")
    assert not staged.name(ROUND, dict(ANSWERS))
    with refused(Rule.MEMBERS):
        staged.name(ROUND, {**ANSWERS, C: answer(C)})


def test_a_stage_found_on_disk_goes_on_to_its_outcome(staged: WorkerRound) -> None:
    found = canonical.decode(canonical.encode(staged.stage), Stage)
    again = WorkerRound(A, 0, found)
    assert again.work is WorkState.STAGED
    assert again.resolve(committed(A, B)) is Fate.CONTRIBUTED


def test_a_commit_whose_numbers_are_not_those_that_were_answered_is_refused(
    staged: WorkerRound,
) -> None:
    answers = {w: Answer(HEAD, w, NUMBERS) for w in (A, B)}
    staged.expose(answers, b"")
    honest = Commit(PLAN, {A: NUMBERS, B: NUMBERS}, (A, B), SideValues(1, 1, 0), HEAD, 1)
    staged.check_numbers(honest)
    for numbers in (
        {A: NUMBERS, B: replace(NUMBERS, lr_sum=2.0)},
        {A: NUMBERS},
        {A: NUMBERS, B: NUMBERS, C: NUMBERS},
    ):
        with pytest.raises(BadCommitError, match="not those that the members answered with"):
            staged.check_numbers(replace(honest, numbers=numbers))
