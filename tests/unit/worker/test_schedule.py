import pytest

from common.documents import Schedule
from worker.schedule import learning_rate

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
