import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from commands.report.axes import axis_of, linear_ticks, log_ticks

NUMBERS = st.floats(min_value=-1e300, max_value=1e300, allow_nan=False)


@example([5e-324], False, True, True)
@example([2.3e-308], False, True, True)
@given(st.lists(NUMBERS, max_size=5), st.booleans(), st.booleans(), st.booleans())
def test_an_axis_holds_its_values_and_is_never_empty(values, from_zero, log, room):
    axis = axis_of(values, from_zero=from_zero, log=log, room=room)
    assert axis.high > axis.low
    for value in values:
        assert -1e-9 <= axis.at(value) <= 1 + 1e-9
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 13
    assert ticks == sorted(ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0.13, 0.41, [0.15, 0.2, 0.25, 0.3, 0.35, 0.4]),
        (0, 57, [0, 10, 20, 30, 40, 50]),
        (5, 5, [5]),
    ],
)
def test_ticks_are_round(low, high, ticks):
    assert linear_ticks(low, high) == pytest.approx(ticks)


def test_ticks_of_a_logarithmic_axis():
    assert log_ticks(4, 210) == pytest.approx([5, 10, 20, 50, 100, 200])


def test_a_logarithmic_axis_is_one():
    axis = axis_of([1.0, 10.0, 100.0], log=True)
    assert axis.at(10.0) == pytest.approx(0.5)
    assert not axis_of([0.0, 10.0], log=True).log
    assert math.isclose(axis.at(axis.high), 1)
