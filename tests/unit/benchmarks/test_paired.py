import math

import pytest

from benchmarks.paired import T_95, excess, mean, upper_bound


def test_the_bound_is_that_of_a_worked_example() -> None:
    # n = 5, mean 0.3, s = sqrt(0.1/4) = 0.158114; 0.3 + 2.132 * 0.158114/sqrt(5) = 0.450755
    assert upper_bound([0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx(0.450755, abs=1e-6)


def test_without_spread_the_bound_is_the_mean_and_one_value_bounds_nothing() -> None:
    assert upper_bound([0.01] * 5) == pytest.approx(0.01)
    assert upper_bound([0.01]) == math.inf


def test_quantiles_fall_towards_the_normal_one() -> None:
    assert list(T_95) == sorted(T_95, reverse=True)
    assert T_95[-1] > 1.645


def test_quantiles_are_those_of_the_distribution() -> None:
    for freedom, quantile in enumerate(T_95, 1):
        assert _below(quantile, freedom) == pytest.approx(0.95, abs=1e-4)


def _below(t: float, freedom: int, num: int = 2000) -> float:
    """Half, and Simpson's rule over Student's density from 0 to t."""
    front = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
    density = [
        front * (1 + (t * i / num) ** 2 / freedom) ** (-(freedom + 1) / 2) for i in range(num + 1)
    ]
    inner = 4 * math.fsum(density[1:-1:2]) + 2 * math.fsum(density[2:-1:2])
    return 0.5 + t / num / 3 * (density[0] + inner + density[-1])


def test_excess_is_relative_and_paired() -> None:
    assert excess([2.2, 1.0], [2.0, 1.0]) == pytest.approx((0.1, 0.0))
    assert mean([1.0, 2.0]) == 1.5
    with pytest.raises(ValueError, match=r"longer|shorter"):
        excess([1.0], [1.0, 2.0])
