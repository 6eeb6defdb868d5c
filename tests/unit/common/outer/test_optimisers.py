import numpy as np
import pytest

from common.documents import Outer
from common.errors import ConfigError
from common.outer import OPTIMISERS, optimiser_of, state_lengths
from common.outer.optimiser import average
from common.outer.sgd import Sgd
from tests.rig.rounds.small_run import SMALL


def test_sgd_and_buffers_step_by_their_share() -> None:
    """FedOpt (Reddi et al. 2021, algorithm 1) with SGD as the server's optimiser."""
    theta, mean = np.random.default_rng(3).standard_normal((2, 50)).astype(np.float32)
    before = theta.copy()

    step = Sgd(Outer("sgd", 0.5, 0.9), 0.5)
    assert step.touched({}) == ()
    step.step(theta, mean, {}, {})
    np.testing.assert_allclose(theta, before - 0.25 * mean, rtol=1e-5, atol=1e-6)

    average(before, before.copy(), 0.5)
    np.testing.assert_allclose(before, (theta + 0.25 * mean) / 2, rtol=1e-5, atol=1e-6)


def test_an_unknown_optimiser_is_refused() -> None:
    with pytest.raises(ConfigError, match="'lion', must be sgd or nesterov"):
        optimiser_of(Outer(kind="lion"))


def test_a_state_is_vectors_like_theta_and_one_value_a_block() -> None:
    assert state_lengths(Outer("sgd"), SMALL) == {}
    assert state_lengths(Outer("nesterov"), SMALL) == {
        "momentum": SMALL.length,
        "acc": SMALL.length,
        "share": SMALL.num_blocks,
    }


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_no_name_of_a_state_is_there_twice_or_theta(kind: str) -> None:
    optimiser = OPTIMISERS[kind]
    names = [*optimiser.vectors, *optimiser.per_block]
    assert len({*names, "theta"}) == len(names) + 1
