import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.documents import Outer
from common.outer.nesterov import Nesterov
from common.schema import BLOCK

F32 = np.ndarray


def take(outer: Outer, share: float, phi: float, arrays: tuple[F32, F32, F32], mean: F32) -> float:
    theta, momentum, acc = arrays
    step = Nesterov(outer, share)
    per_block = {"share": np.array([phi, 0.25], np.float32)}
    step.join(per_block, np.array([0]))
    sent = {"share": per_block["share"][:1]}
    vectors = {"momentum": momentum, "acc": acc}
    touched = {name: vectors[name] for name in step.touched(sent)}
    assert step.touched(per_block) == step.touched(sent)
    step.step(theta, mean, touched, sent)
    step.settle(per_block)
    assert per_block["share"][1] == 0.25  # a block that did not travel
    return float(per_block["share"][0])


def vectors(seed: int, num: int) -> list[F32]:
    return list(np.random.default_rng(seed).standard_normal((num, BLOCK)).astype(np.float32))


@given(st.integers(0, 2**32), st.floats(0.1, 1), st.floats(0, 0.95))
def test_with_everyone_aboard_delayed_nesterov_is_the_ordinary_one(
    seed: int, eta: float, mu: float
) -> None:
    """DiLoCo's outer step (Douillard et al. 2023): Nesterov on the mean difference."""
    outer = Outer("nesterov", eta, mu)
    theta, *means = vectors(seed, 6)
    arrays = (theta.copy(), np.zeros(BLOCK, np.float32), np.zeros(BLOCK, np.float32))
    expected, m = theta.astype(np.float64), np.zeros(BLOCK)

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
    arrays = (theta, np.zeros(BLOCK, np.float32), np.zeros(BLOCK, np.float32))

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


@pytest.mark.parametrize(
    "shares", [(0.5, 1.0, 1.0, 0.2), (1.0, 1.0, 1.0, 1.0), (0.1, 0.2, 1.3, 1.1)]
)
def test_blocks_beside_each_other_step_as_each_alone(shares: tuple[float, ...]) -> None:
    rng = np.random.default_rng(3)
    theta, mean, momentum, acc = rng.standard_normal((4, 4 * BLOCK)).astype(np.float32)
    phi, step = np.array(shares, np.float32), Nesterov(Outer("nesterov", 0.7, 0.9), 0.5)
    expected = [theta.copy(), momentum.copy(), acc.copy()]
    for block in range(4):
        own = slice(block * BLOCK, (block + 1) * BLOCK)
        vectors = {"momentum": expected[1][own], "acc": expected[2][own]}
        step.step(expected[0][own], mean[own], vectors, {"share": phi[block : block + 1]})

    step.step(theta, mean, {"momentum": momentum, "acc": acc}, {"share": phi})

    assert [x.tobytes() for x in (theta, momentum, acc)] == [x.tobytes() for x in expected]
    assert (acc.reshape(4, BLOCK).any(axis=1) == (phi < 1)).all()
