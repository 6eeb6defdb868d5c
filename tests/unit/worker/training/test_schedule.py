import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.documents import Schedule
from common.rate import lowest_rate, lr_sum_bounds
from worker.training.schedule import learning_rate

SCHEDULE = Schedule(peak=0.01, warmup_steps=10, floor=0.1)


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 0.01), (0.5, 0.0055), (1.0, 0.001), (1 / 3, 0.00775)]
)
def test_after_warm_up_the_rate_follows_a_cosine_from_peak_to_floor(progress, expected):
    assert learning_rate(SCHEDULE, progress, 500) == pytest.approx(expected)


def test_warm_up_is_linear_and_its_first_step_moves():
    rates = [learning_rate(SCHEDULE, 0.0, n) for n in range(12)]

    assert rates[:3] == pytest.approx([0.001, 0.002, 0.003])
    assert rates[9:] == pytest.approx([0.01] * 3)


def test_a_schedule_without_warm_up_begins_at_its_peak():
    assert learning_rate(Schedule(peak=0.01, warmup_steps=0), 0.0, 0) == 0.01


def test_a_joiner_without_optimiser_state_warms_up_on_its_own_steps_too():
    assert learning_rate(SCHEDULE, 0.0, 500, 0) == pytest.approx(0.001)
    assert learning_rate(SCHEDULE, 0.0, 0, 500) == pytest.approx(0.001)


anything = st.one_of(
    st.floats(), st.integers(-(10**400), 10**400), st.sampled_from([math.nan, -math.inf, 1e308])
)
schedules = st.builds(
    Schedule,
    peak=st.floats(1e-9, 1e3),
    warmup_steps=st.integers(0, 10**6),
    floor=st.floats(0, 1),
)


@given(schedules, anything, anything, st.one_of(st.none(), st.integers(-(10**400), 10**400)))
def test_whatever_the_clock_says_the_rate_is_above_zero_and_at_most_its_peak(
    schedule: Schedule, progress: float, num_steps: float, num_own_steps: int | None
) -> None:
    rate = learning_rate(schedule, progress, num_steps, num_own_steps)

    assert 0 < lowest_rate(schedule) <= rate <= schedule.peak


@pytest.mark.parametrize("progress", [-1e9, math.nan, -math.inf])
def test_a_clock_before_its_beginning_is_at_its_beginning(progress: float) -> None:
    assert learning_rate(SCHEDULE, progress, -(10**9)) == learning_rate(SCHEDULE, 0.0, 0)


def test_without_a_floor_a_run_past_its_end_still_moves() -> None:
    assert learning_rate(Schedule(peak=0.01, warmup_steps=0, floor=0.0), 1.0, 500) > 0


@given(schedules, st.lists(st.tuples(st.floats(0, 1), st.integers(0, 10**7)), min_size=1))
def test_a_sum_of_rates_is_within_the_bounds_that_members_look_at(
    schedule: Schedule, clock: list[tuple[float, int]]
) -> None:
    total = 0.0
    for progress, num_steps in clock:
        total += learning_rate(schedule, progress, num_steps)

    lowest, highest = lr_sum_bounds(len(clock), schedule)

    assert lowest <= total <= highest
