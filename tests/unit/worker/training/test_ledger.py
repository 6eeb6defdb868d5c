from dataclasses import astuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import canonical
from common.documents import Algorithm
from worker.training.ledger import LedgerDocument, Work, WorkLedger

ALGORITHM = Algorithm(staleness="poly", staleness_exponent=0.5)
STEP = Work(tokens=100, token_versions=300, steps=1, samples=4, lr_sum=0.5, loss_sum=250.0)


def ledger_with(*works: Work) -> WorkLedger:
    ledger = WorkLedger()
    for work in works:
        ledger.pending += work
    return ledger


def test_freezing_moves_pending_work_into_the_round():
    ledger = ledger_with(STEP, STEP)

    assert ledger.freeze("a") == STEP + STEP
    assert ledger.pending == Work()
    assert ledger.steps == 2


@pytest.mark.parametrize("fate", ["contributed", "spent"])
def test_work_that_left_the_worker_is_forgotten(fate):
    ledger = ledger_with(STEP)
    ledger.freeze("a")
    ledger.pending += STEP

    ledger.release("a", fate)

    assert (ledger.pending, ledger.frozen) == (STEP, {})


def test_free_work_is_pending_again_beside_what_was_done_meanwhile():
    ledger = ledger_with(STEP)
    ledger.freeze("a")
    ledger.pending += STEP

    ledger.release("a", "free")

    assert ledger.pending == STEP + STEP


def test_the_second_release_of_a_round_changes_nothing():
    ledger = ledger_with(STEP)
    ledger.freeze("a")
    ledger.release("a", "free")

    ledger.release("a", "spent")

    assert ledger.pending == STEP


def test_an_unknown_fate_is_refused_and_changes_nothing():
    ledger = ledger_with(STEP)
    ledger.freeze("a")

    with pytest.raises(ValueError, match="lost"):
        ledger.release("a", "lost")
    assert ledger.frozen == {"a": STEP}


def test_a_round_cannot_be_frozen_twice():
    ledger = ledger_with(STEP)
    ledger.freeze("a")
    ledger.pending += STEP

    with pytest.raises(ValueError, match="frozen already"):
        ledger.freeze("a")
    assert (ledger.pending, ledger.frozen["a"]) == (STEP, STEP)


def test_age_is_the_token_weighted_mean_in_commits():
    fresh = Work(tokens=300, token_versions=300 * 5, steps=1)
    old = Work(tokens=100, token_versions=100 * 3, steps=1)

    assert (fresh + old).age_256(5) == 128  # (300*0 + 100*2) / 400 = 0.5


def test_numbers_tell_the_staleness_of_the_algorithm():
    numbers = STEP.numbers(6, ALGORITHM)  # done on version 3

    assert (numbers.tokens, numbers.lr_sum, numbers.steps, numbers.samples) == (100, 0.5, 1, 4)
    assert (numbers.age_256, numbers.staleness_65535) == (3 * 256, round(65535 / 2))


def test_numbers_of_no_work_are_all_zero():
    numbers = Work().numbers(9, ALGORITHM)

    assert set(astuple(numbers)) == {0}


def test_mean_loss_weighs_by_tokens():
    work = Work(tokens=300, loss_sum=300 * 2.0) + Work(tokens=100, loss_sum=100 * 6.0)

    assert work.mean_loss == 3.0
    assert Work().mean_loss == 0.0


works = st.builds(
    Work,
    tokens=st.integers(0, 2**40),
    token_versions=st.integers(0, 2**60),
    steps=st.integers(0, 2**20),
    samples=st.integers(0, 2**20),
    lr_sum=st.floats(0, 1e6),
    loss_sum=st.floats(0, 1e12),
    not_finite=st.integers(0, 10),
)


@given(works, st.dictionaries(st.text("abcdef0123456789", min_size=1), works))
def test_a_ledger_survives_being_stored(pending, frozen):
    document = WorkLedger(pending, frozen).document()

    assert canonical.decode(canonical.encode(document), LedgerDocument).ledger() == WorkLedger(
        pending, frozen
    )


@given(st.lists(st.sampled_from(["step", "freeze", "free", "spent"])))
def test_no_step_is_counted_twice_or_lost(actions):
    ledger, done, spent, rounds = WorkLedger(), 0, 0, []
    for number, action in enumerate(actions):
        if action == "step":
            ledger.pending += STEP
            done += 1
        elif action == "freeze":
            ledger.freeze(str(number))
            rounds.append(str(number))
        elif rounds:
            if action == "spent":
                spent += ledger.frozen[rounds[-1]].steps
            ledger.release(rounds.pop(), action)
    assert ledger.steps + spent == done
