import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.documents import Algorithm
from worker.pace import OwnPace

ALGORITHM = Algorithm(local_steps=20, min_local_steps=5)


def test_it_begins_as_the_genesis_says() -> None:
    pace = OwnPace(ALGORITHM)
    assert (pace.local_steps, pace.paused) == (20, False)


@pytest.mark.parametrize("told", [5, 13, 20])
def test_a_pace_within_the_bounds_is_followed(told: int) -> None:
    pace = OwnPace(ALGORITHM)
    assert pace.told(told, paused=True) == ""
    assert (pace.local_steps, pace.paused) == (told, True)


@pytest.mark.parametrize(("told", "followed"), [(1, 5), (0, 5), (4, 5), (21, 20), (2**31, 20)])
def test_a_pace_outside_is_not_and_that_is_said_once(told: int, followed: int) -> None:
    pace = OwnPace(ALGORITHM)

    complaint = pace.told(told, paused=False)

    assert pace.local_steps == followed
    assert complaint == (
        f"told to take {told} local steps per contribution; the genesis allows 5 to 20, so it "
        f"takes {followed}: ask the coordinator's operator why"
    )
    assert pace.told(told, paused=False) == ""
    assert pace.local_steps == followed


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63), st.booleans())))
def test_whatever_is_told_local_steps_stay_within_the_genesis_bounds(
    said: list[tuple[int, bool]],
) -> None:
    pace = OwnPace(ALGORITHM)
    complaints = [pace.told(local_steps, paused=paused) for local_steps, paused in said]

    assert 5 <= pace.local_steps <= 20
    assert sum(map(bool, complaints)) <= 1
    assert any(complaints) == any(not 5 <= told <= 20 for told, _ in said)
