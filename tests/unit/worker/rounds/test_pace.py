from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.documents import Algorithm
from worker.rounds.pace import Bounds, Missed, OwnPace, Turns

ALGORITHM = Algorithm(local_steps=20, min_local_steps=5)


def own_pace(algorithm: Algorithm = ALGORITHM) -> OwnPace:
    return OwnPace(algorithm, Turns())


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


def turns(num_workers: int, num_organisations: int | None = None) -> Turns:
    """Return those of one's own worker, "org-0", among so many workers."""
    num = num_organisations or num_workers
    names = [f"org-{i % num}" for i in range(num_workers)]
    return Turns.of(names, "org-0", replace(ALGORITHM, max_cohort=8))


def test_a_turn_lasts_until_everybody_was_in_a_cohort() -> None:
    assert turns(0) == Turns(1, 0)
    assert turns(4) == Turns(1, 4)
    assert turns(17) == Turns(3, 8)
    assert turns(9, num_organisations=3) == Turns(3, 3)  # one of each organisation at a time
    assert turns(5, num_organisations=4) == Turns(2, 4)
    assert Turns.of(["a", "a", "a", "b", "c"], "a", ALGORITHM).num_versions == 3


def test_siblings_of_one_organisation_take_turns() -> None:
    pace = OwnPace(ALGORITHM, turns(9, num_organisations=3))
    assert not missed(pace, 5, num_members=3).left_out
    assert missed(pace, 1, num_members=3).left_out


def missed(pace: OwnPace, num: int, num_members: int = 8) -> OwnPace:
    """Let so many versions be made without its work."""
    for _ in range(num):
        pace.made(num_members, own=False)
    return pace


def test_a_worker_that_the_run_goes_on_without_has_the_least_work_ready_and_no_more() -> None:
    pace = missed(own_pace(), 1)
    assert not pace.left_out
    assert pace.most_steps is None
    missed(pace, 1)
    assert pace.bounds == LEFT_OUT
    pace.told(20, paused=False)
    assert pace.bounds == LEFT_OUT
    assert pace.most_steps == 5


def test_once_its_work_is_in_a_version_it_goes_on_as_told() -> None:
    pace = missed(own_pace(), 7)
    pace.told(13, paused=False)
    pace.made(8, own=True)
    assert pace.bounds == Bounds(13)
    assert not missed(pace, 1).left_out
    assert missed(pace, 1).left_out


def test_where_full_cohorts_take_turns_a_turn_is_as_long_as_all_need() -> None:
    pace = OwnPace(replace(ALGORITHM, max_cohort=8), turns(17))
    assert not missed(pace, 5, num_members=8).left_out
    assert missed(pace, 1, num_members=8).left_out


def test_no_turn_is_had_by_cohorts_that_had_room() -> None:
    pace = OwnPace(replace(ALGORITHM, max_cohort=8), turns(9))
    assert not missed(pace, 1, num_members=4).left_out
    assert missed(pace, 1, num_members=7).left_out
    full = OwnPace(replace(ALGORITHM, max_cohort=8), turns(9))
    assert not missed(full, 3, num_members=8).left_out


@pytest.mark.parametrize(("version", "left_out"), [(0, False), (1, False), (2, True), (900, True)])
def test_a_newcomer_was_left_out_of_all_that_was_before(version: int, left_out: bool) -> None:
    pace = own_pace()
    pace.begin(Missed(version, version))
    assert pace.left_out is left_out
    pace.made(3, own=True)
    assert not pace.left_out


def test_where_the_coordinator_sees_every_update_nobody_is_held_back() -> None:
    pace = own_pace(Algorithm(tier="tls"))
    pace.begin(Missed(900, 900))
    assert pace.bounds == Bounds(20)
    assert pace.most_steps is None
