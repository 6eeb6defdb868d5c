"""Who waits after rounds that failed, and for how long."""

import pytest

from common.ids import WorkerId
from coordinator.backoff import Backoff

A, B = WorkerId("aws"), WorkerId("azure")


def test_the_pauses_double_up_to_a_minute_and_a_commit_ends_them() -> None:
    backoff, now_s, waits_s = Backoff(), 0.0, []
    for _ in range(9):
        backoff.failed("storage_full: as told", now_s)
        start_s = now_s
        while backoff.holds(now_s):
            now_s += 1.0
        waits_s.append(now_s - start_s)
    assert waits_s == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert backoff.sentences(now_s) == (
        "the last 9 rounds failed, for 243.0 s now (storage_full: as told)",
    )
    backoff.committed([A])
    assert backoff.sentences(now_s) == ()
    backoff.failed("storage_full: as told", now_s)
    assert backoff.holds(now_s + 0.9)
    assert not backoff.holds(now_s + 1.0)


def test_nobody_else_waits_for_who_is_to_blame() -> None:
    backoff = Backoff()
    backoff.failed("bad_update: its V is wrong", 0.0, A)
    assert not backoff.holds(0.5)
    assert backoff.left_out(0.5) == {A}
    assert backoff.left_out(1.0) == set()

    backoff.committed([B])  # without it: that proves nothing of it
    backoff.failed("bad_update: its V is wrong", 1.0, A)
    assert backoff.left_out(2.9) == {A}
    assert backoff.sentences(2.0) == (
        "aws spoilt 2 rounds, for 2.0 s now (bad_update: its V is wrong), left out for 1.0 s more",
    )
    backoff.committed([A, B])
    assert backoff.left_out(2.9) == set()


@pytest.mark.parametrize("blamed", [None, A])
def test_an_operator_ends_all_of_it(blamed: WorkerId | None) -> None:
    backoff = Backoff()
    backoff.failed("damaged_shard: as told", 0.0, blamed)
    backoff.end()
    assert not backoff.holds(0.0)
    assert not backoff.left_out(0.0)
    assert backoff.sentences(0.0) == ()
