from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.documents import Algorithm
from worker.pace import Bounds, OwnPace

ALGORITHM = Algorithm(local_steps=20, min_local_steps=5)


def own_pace(algorithm: Algorithm = ALGORITHM) -> OwnPace:
    return OwnPace(algorithm)


def test_it_begins_as_the_genesis_says() -> None:
    assert own_pace().bounds == Bounds(20, paused=False, rounds_ahead=8)


@pytest.mark.parametrize("told", [5, 13, 20])
def test_a_pace_within_the_bounds_is_followed(told: int) -> None:
    pace = own_pace()
    assert pace.told(told, paused=True) == ""
    assert pace.bounds == Bounds(told, paused=True)


@pytest.mark.parametrize(("told", "followed"), [(1, 5), (0, 5), (4, 5), (21, 20), (2**31, 20)])
def test_a_pace_outside_is_not_and_that_is_said_once(told: int, followed: int) -> None:
    pace = own_pace()

    complaint = pace.told(told, paused=False)

    assert pace.bounds.local_steps == followed
    assert complaint == (
        f"told to take {told} local steps per contribution; the genesis allows 5 to 20, so it "
        f"takes {followed}: ask the coordinator's operator why"
    )
    assert pace.told(told, paused=False) == ""
    assert pace.bounds.local_steps == followed


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63), st.booleans())))
def test_whatever_is_told_local_steps_stay_within_the_genesis_bounds(
    said: list[tuple[int, bool]],
) -> None:
    pace = own_pace()
    complaints = [pace.told(local_steps, paused=paused) for local_steps, paused in said]

    assert 5 <= pace.bounds.local_steps <= 20
    assert sum(map(bool, complaints)) <= 1
    assert any(complaints) == any(not 5 <= told <= 20 for told, _ in said)


LEFT_OUT = Bounds(5, paused=False, rounds_ahead=1)


def test_a_worker_that_the_run_goes_on_without_has_the_least_work_ready_and_no_more() -> None:
    pace = own_pace()
    pace.stands_on(1)
    assert not pace.left_out
    pace.stands_on(2)
    assert pace.bounds == LEFT_OUT
    pace.told(20, paused=False)
    assert pace.bounds == LEFT_OUT


def test_once_its_work_is_in_a_version_it_goes_on_as_told() -> None:
    pace = own_pace()
    pace.told(13, paused=False)
    pace.stands_on(7)
    pace.contributed(8)
    pace.stands_on(8)
    assert pace.bounds == Bounds(13)
    pace.stands_on(9)
    assert not pace.left_out
    pace.stands_on(10)
    assert pace.left_out


def test_versions_that_came_after_its_own_in_one_go_count() -> None:
    pace = own_pace()
    pace.contributed(1)
    pace.stands_on(4)
    assert pace.left_out


def test_where_cohorts_take_turns_a_turn_is_as_long_as_all_need() -> None:
    pace = OwnPace(replace(ALGORITHM, max_cohort=8), num_workers=17)
    pace.stands_on(5)
    assert not pace.left_out
    pace.stands_on(6)
    assert pace.left_out


@pytest.mark.parametrize(("version", "left_out"), [(0, False), (1, False), (2, True), (900, True)])
def test_a_newcomer_was_left_out_of_all_that_was_before(version: int, left_out: bool) -> None:
    pace = own_pace()
    pace.stands_on(version)
    assert pace.left_out is left_out
    pace.contributed(version + 1)
    pace.stands_on(version + 1)
    assert not pace.left_out


def test_where_the_coordinator_sees_every_update_nobody_is_held_back() -> None:
    pace = own_pace(Algorithm(tier="tls"))
    pace.stands_on(900)
    assert pace.bounds == Bounds(20)
