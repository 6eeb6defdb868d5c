from dataclasses import replace

import pytest

from common import canonical
from common.documents import Control, Counters, Evaluation, Record, Rollback, Stop
from common.errors import BadSignatureError, UnexpectedMessageError
from common.ids import Digest
from coordinator.head import NUM_KNOWN_DIGESTS, RunHead
from coordinator.ledger import Ledger
from coordinator.lifecycle import Lifecycle, limit_reached
from coordinator.ports import Append, Command, Note, Operated
from tests.rig.rounds.masked_members import admits, measured
from tests.rig.rounds.run_script import begun

GENESIS = canonical.digest(begun().genesis)
HEAD = RunHead.of(begun().genesis)


def evaluation(version: int, loss: float) -> Evaluation:
    return measured(version, loss, genesis=GENESIS, digest=HEAD.digest)


@pytest.mark.parametrize(
    ("stop", "head", "elapsed_s", "limit"),
    [
        (Stop(), HEAD, 1e9, ""),
        (Stop(versions=3), replace(HEAD, version=2), 0.0, ""),
        (Stop(versions=3), replace(HEAD, version=3), 0.0, "version 3 of 3"),
        (Stop(tokens=10), replace(HEAD, counters=Counters(tokens=9)), 0.0, ""),
        (
            Stop(tokens=10),
            replace(HEAD, counters=Counters(tokens=11)),
            0.0,
            "11 tokens of 10",
        ),
        (Stop(hours=0.5), HEAD, 1799.9, ""),
        (Stop(hours=0.5), HEAD, 1800.0, "its limit of 1800 s is over"),
        (Stop(hours=0.0166667), HEAD, 61.0, "its limit of 60 s is over"),
        (Stop(hours=2), HEAD, 7200.0, "its limit of 2 h is over"),
        (Stop(loss=2.5), HEAD, 0.0, ""),
        (Stop(loss=2.5), replace(HEAD, evaluation=evaluation(1, 2.51)), 0.0, ""),
        (
            Stop(loss=2.5),
            replace(HEAD, evaluation=evaluation(1, 2.5)),
            0.0,
            "validation loss 2.5000 is at most 2.5",
        ),
    ],
)
def test_the_first_limit_that_is_reached_ends_the_run(
    stop: Stop, head: RunHead, elapsed_s: float, limit: str
) -> None:
    assert limit_reached(stop, head, elapsed_s) == limit


def new_lifecycle(stop: Stop | None = None) -> Lifecycle:
    genesis = begun().genesis
    ledger = Ledger(genesis, RunHead.of(genesis), 0.0)
    return Lifecycle(stop or genesis.stop, ledger, GENESIS, admits)


def test_asking_for_what_is_so_already_is_no_record() -> None:
    lifecycle = new_lifecycle()

    runs = Note("resume", "alice asked; the run runs already")
    assert lifecycle.operate(Operated(Command.RESUME, "alice"), 0.0) == (runs,)
    append, *_ = lifecycle.operate(Operated(Command.PAUSE, "alice"), 1.0)
    assert isinstance(append, Append)
    assert append.record.control == Control("pause", "alice", "")
    assert lifecycle.paused
    paused = Note("pause", "bob asked; the run is paused by alice already")
    assert lifecycle.operate(Operated(Command.PAUSE, "bob"), 2.0) == (paused,)
    assert lifecycle.operate(Operated(Command.RESUME, "bob"), 3.0) != ()
    assert not lifecycle.paused


def test_the_first_to_ask_for_a_stop_is_named() -> None:
    lifecycle = new_lifecycle()
    assert lifecycle.due(0.0) is None
    lifecycle.operate(Operated(Command.STOP, "alice"), 0.0)
    lifecycle.operate(Operated(Command.STOP, "bob"), 1.0)

    assert lifecycle.due(2.0) == Control("stop", "alice", "asked for")


def test_an_evaluation_is_recorded_once_and_never_of_a_version_to_come() -> None:
    lifecycle = new_lifecycle()

    with pytest.raises(UnexpectedMessageError):
        lifecycle.evaluate(evaluation(1, 2.0), 0.0)
    assert lifecycle.evaluate(evaluation(0, 5.5), 1.0) != ()
    assert lifecycle.evaluate(evaluation(0, 5.5), 2.0) == ()


def test_an_evaluation_of_what_is_not_this_version_is_refused() -> None:
    lifecycle = new_lifecycle()
    with pytest.raises(
        UnexpectedMessageError, match=r"version 0 is .* and ffffffffffffffff\.\.\. was"
    ):
        lifecycle.evaluate(measured(0, 2.0, genesis=GENESIS), 0.0)


def with_versions(number: int) -> RunHead:
    """Return the head of a log in which version n is of digest n."""
    head = HEAD
    for version in range(1, number + 1):
        record = Record(
            seq=head.num_records,
            previous=head.previous,
            epoch=0,
            time_s=0,
            version=version,
            digest=Digest(f"{version:064x}"),
            progress=0.0,
            counters=head.counters,
            rolled_back=-1,
            rollback=Rollback(0, 0, "alice"),
        )
        head = head.after(record)
    return head


def test_an_evaluation_below_the_head_is_of_what_the_log_has_there() -> None:
    genesis, head = begun().genesis, with_versions(3)
    stop = replace(genesis.stop, loss=2.5)
    for version, digest, sentence in (
        (2, Digest(f"{1:064x}"), r"version 2 is 0+\.\.\. here, and 0+\.\.\. was evaluated"),
        (0, Digest("e" * 64), r"version 0 is .* and eeeeeeeeeeeeeeee\.\.\. was evaluated"),
        (4, Digest(f"{4:064x}"), "version 4 was evaluated, the run is at 3"),
    ):
        lifecycle = Lifecycle(stop, Ledger(genesis, head, 0.0), GENESIS, admits)
        with pytest.raises(UnexpectedMessageError, match=sentence):
            lifecycle.evaluate(measured(version, 1.0, genesis=GENESIS, digest=digest), 0.0)
        assert lifecycle.due(0.0) is None
    lifecycle = Lifecycle(stop, Ledger(genesis, head, 0.0), GENESIS, admits)
    true = measured(2, 1.0, genesis=GENESIS, digest=Digest(f"{2:064x}"))
    assert lifecycle.evaluate(true, 0.0) != ()
    assert lifecycle.due(0.0) is not None


def test_an_evaluation_of_a_version_whose_digest_was_forgotten_is_refused() -> None:
    genesis, head = begun().genesis, with_versions(NUM_KNOWN_DIGESTS)
    assert len(head.digests) == NUM_KNOWN_DIGESTS
    lifecycle = Lifecycle(genesis.stop, Ledger(genesis, head, 0.0), GENESIS, admits)
    with pytest.raises(UnexpectedMessageError, match="its digest is not known any more, only the"):
        lifecycle.evaluate(evaluation(0, 2.0), 0.0)
    oldest = measured(1, 2.0, genesis=GENESIS, digest=Digest(f"{1:064x}"))
    assert lifecycle.evaluate(oldest, 0.0) != ()


def test_an_evaluation_that_no_evaluator_signed_is_refused_and_changes_nothing() -> None:
    lifecycle, true = new_lifecycle(), evaluation(0, 2.0)
    for forged, sentence in (
        (replace(true, signature=None), "no evaluator has signed the evaluation of version 0"),
        (replace(true, loss=1.0), "is not as evaluator has signed it"),
        (measured(0, genesis=Digest("e" * 64), digest=HEAD.digest), "is of another run"),
    ):
        with pytest.raises(BadSignatureError, match=sentence):
            lifecycle.evaluate(forged, 0.0)
    assert lifecycle.evaluate(true, 0.0) != ()
