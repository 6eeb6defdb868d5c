import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.documents import Outer
from common.errors import ConfigError
from common.outer import OuterStep, has_momentum

F32 = np.ndarray


def take(outer: Outer, share: float, phi: float, arrays: tuple[F32, F32, F32], mean: F32) -> float:
    theta, momentum, acc = arrays
    step, phis = OuterStep(outer, share), np.array([phi, 0.25], np.float32)
    step.join(phis, np.array([0]))
    step.descend(theta, mean)
    step.accumulate(acc, mean)
    if step.completes(phis)[0]:
        step.complete(theta, momentum, acc, phis[0])
    assert phis[1] == 0.25  # a block that did not travel
    return float(step.next_phi(phis)[0])


def vectors(seed: int, num: int) -> list[F32]:
    return list(np.random.default_rng(seed).standard_normal((num, 50)).astype(np.float32))


@given(st.integers(0, 2**32), st.floats(0.1, 1), st.floats(0, 0.95))
def test_with_everyone_aboard_delayed_nesterov_is_the_ordinary_one(
    seed: int, eta: float, mu: float
) -> None:
    """DiLoCo's outer step (Douillard et al. 2023): Nesterov on the mean difference."""
    outer = Outer("nesterov", eta, mu)
    theta, *means = vectors(seed, 6)
    arrays = (theta.copy(), np.zeros(50, np.float32), np.zeros(50, np.float32))
    expected, m = theta.astype(np.float64), np.zeros(50)

    for mean in means:
        assert take(outer, 1.0, 0.0, arrays, mean) == 0.0
        m = mu * m + mean
        expected -= eta * (mean + mu * m)

    np.testing.assert_allclose(arrays[0], expected, rtol=1e-4, atol=1e-4)
    assert not arrays[2].any()


def test_momentum_waits_until_the_cohorts_are_as_large_as_the_federation() -> None:
    """Delayed Nesterov (Liu et al. 2024): a buffer, then one step of momentum with its mean."""
    outer = Outer("nesterov", 0.5, 0.8)
    theta, *means = vectors(1, 4)
    arrays = (theta, np.zeros(50, np.float32), np.zeros(50, np.float32))

    phi = take(outer, 0.5, 0.0, arrays, means[0])
    assert phi == 0.5
    assert not arrays[1].any()
    phi = take(outer, 0.25, phi, arrays, means[1])
    assert phi == 0.75
    assert not arrays[1].any()
    phi = take(outer, 0.5, phi, arrays, means[2])

    assert phi == 0.0
    blend = (0.5 * means[0] + 0.25 * means[1] + 0.5 * means[2]) / 1.25
    np.testing.assert_allclose(arrays[1], blend, rtol=1e-5, atol=1e-6)


def test_the_step_is_exactly_the_written_float32_operations() -> None:
    outer = Outer("nesterov", 0.6, 0.8)
    theta, momentum, acc, mean = vectors(2, 4)
    f = np.float32
    share, phi = 0.3, float(f(0.9))
    sum_phi = f(phi + share)
    acc_1 = acc + f(share) * mean
    theta_1 = theta - f(0.6 * share) * mean
    momentum_1 = f(0.8) * momentum + acc_1 / sum_phi
    theta_2 = theta_1 - f(0.6 * 0.8) * momentum_1

    take(outer, share, phi, (theta, momentum, acc), mean)

    assert theta.tobytes() == theta_2.tobytes()
    assert momentum.tobytes() == momentum_1.tobytes()


def test_sgd_and_buffers_step_by_their_share() -> None:
    """FedOpt (Reddi et al. 2021, algorithm 1) with SGD as the server's optimiser."""
    theta, mean = vectors(3, 2)
    before = theta.copy()

    step = OuterStep(Outer("sgd", 0.5, 0.9), 0.5)
    step.descend(theta, mean)
    np.testing.assert_allclose(theta, before - 0.25 * mean, rtol=1e-5, atol=1e-6)

    step.average(before, before.copy())
    np.testing.assert_allclose(before, (theta + 0.25 * mean) / 2, rtol=1e-5, atol=1e-6)


def test_an_unknown_optimiser_is_refused() -> None:
    with pytest.raises(ConfigError, match="lion"):
        has_momentum(Outer(kind="lion"))
