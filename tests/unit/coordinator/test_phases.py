"""What is taken in which step: by the table, and by a real round in each of them."""

from collections.abc import Callable
from itertools import product

import pytest

from common import canonical
from common.documents import Algorithm, Answer, Commit, Offer, SideValues
from common.errors import UnexpectedMessageError
from common.ids import Digest, RoundId, SessionId, WorkerId
from common.rounds import AbortReason, Phase
from coordinator.phases import TAKES, RoundStep, check_taken
from coordinator.ports import (
    Abandoned,
    Answered,
    Computed,
    ComputeFailed,
    Listed,
    Refused,
    Revealed,
    Sealed,
    SpoolOpened,
    Uploaded,
)
from coordinator.round import Round
from tests.rig.rounds.run_script import numbers
from tests.rig.rounds.small_run import Run

A, B, C = (WorkerId(x) for x in ("aws", "azure", "gcp"))
RUN = Run()


def opened() -> Round:
    offers = (Offer("small", w, "b1", w, *RUN.head, 2000, 0.04, 0, 20, 100, 0) for w in (A, B, C))
    waits = {"key_timeout_s": 5.0, "upload_timeout_s": 30.0}
    plan = RUN.draft(0, offers, threshold=2, live_speed=400, num_live=3, **waits)
    r = Round(plan, Algorithm(), 1, {w: SessionId(w) for w in (A, B, C)}, 20.0)
    r.open(0.0)
    return r


def answer(r: Round, worker: WorkerId) -> None:
    r.answer(worker, Answer(canonical.digest(r.plan), worker, numbers()), {})


def answered() -> Round:
    r = opened()
    for worker in (A, B, C):
        answer(r, worker)
    r.advance(1.0)
    return r


def collecting() -> Round:
    r = answered()
    r.open_uploads(1.0)
    return r


def sealing() -> Round:
    r = collecting()
    for worker in (A, B, C):
        r.upload(worker)
    r.advance(2.0)
    return r


def summing() -> Round:
    r = sealing()
    r.seal((A, B, C), 3.0)
    return r


ROUNDS: dict[RoundStep, Callable[[], Round]] = {
    RoundStep.ANSWERS: opened,
    RoundStep.SPOOL: answered,
    RoundStep.UPLOADS: collecting,
    RoundStep.LISTING: sealing,
    RoundStep.OPEN_SUM: summing,
}
"""A round of the tls tier in each of its steps; those of the masked one are transcripts."""


def computed(r: Round) -> Computed:
    side, of = SideValues(1, 0, 0), r.cohort.numbers
    commit = Commit(r.plan, of, r.survivors, side, Digest("a" * 64), 1)
    return Computed(RoundId(r.plan.round), commit, Digest("b" * 64))


SAYINGS: dict[type, Callable[[Round], object]] = {
    Uploaded: lambda r: r.upload(A),
    Listed: lambda r: r.sign(A, b"", 9.0),
    Revealed: lambda r: r.reveal(A, {}, {}),
    Refused: lambda r: r.refuse(A, 3, "no"),
    Abandoned: lambda r: r.abandon(A, b""),
    SpoolOpened: lambda r: r.open_uploads(9.0),
    Sealed: lambda r: r.seal((A, B, C), 9.0),
    Computed: lambda r: r.compute(computed(r)),
    ComputeFailed: lambda r: r.fail(
        ComputeFailed(RoundId(r.plan.round), AbortReason.BAD_UPDATE, "no")
    ),
}


def test_the_rounds_are_in_the_steps_that_they_stand_for() -> None:
    assert {step: make().step for step, make in ROUNDS.items()} == {s: s for s in ROUNDS}
    assert opened().phase is Phase.SHARE_KEYS
    assert TAKES.keys() == {Answered, *SAYINGS}  # who did not answer in time is no member any more
    assert set().union(*(taken.steps for taken in TAKES.values())) == set(RoundStep) - {
        RoundStep.NOTHING
    }


@pytest.mark.parametrize(("step", "event"), list(product(ROUNDS, SAYINGS)))
def test_what_the_table_does_not_take_raises_and_changes_nothing(
    step: RoundStep, event: type
) -> None:
    r = ROUNDS[step]()
    if event is Refused:
        r.cohort.uploaded.discard(A)  # one whose upload is complete may not, in any step
    before = repr(r)
    if step in TAKES[event].steps:
        SAYINGS[event](r)
    else:
        words = {"worker": A, "phase": r.phase.value, "round": r.id}
        with pytest.raises(UnexpectedMessageError) as e:
            SAYINGS[event](r)
        assert str(e.value) == TAKES[event].otherwise.format(**words)
        assert repr(r) == before


def test_nothing_is_taken_once_a_round_is_over() -> None:
    for event in TAKES:
        with pytest.raises(UnexpectedMessageError):
            check_taken(event, RoundStep.NOTHING, worker=A, phase="committed", round="r")
