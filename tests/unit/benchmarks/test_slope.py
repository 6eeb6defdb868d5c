import numpy as np
import pytest

from benchmarks.slope import F64, Slope, slope

ROUNDS = np.arange(735.0)  # of a soak of ten minutes, after the first quarter
LEAK = 100.0  # bytes per round
NUM_SEEDS = 100


def walk(seed: int) -> F64:
    """Return noise as allocators make it: what is taken stays for a while."""
    draw = np.random.default_rng(seed)
    noise = np.zeros(len(ROUNDS))
    for i in range(1, len(noise)):
        noise[i] = 0.98 * noise[i - 1] + draw.normal(0.0, 400.0)
    return noise


def t(found: Slope) -> float:
    return found.per_round / found.noise


def test_a_line_is_found_as_it_is() -> None:
    found = slope(ROUNDS, 5e6 + LEAK * ROUNDS)
    assert found.per_round == pytest.approx(LEAK)
    assert found.noise == pytest.approx(0.0, abs=1e-6)
    assert found.step == pytest.approx(0.0, abs=1.0)
    assert found.last == pytest.approx(5e6 + LEAK * ROUNDS[-29:].mean())


@pytest.mark.parametrize("at", [120, 367, 600])
def test_one_step_is_no_growth_and_does_not_hide_any(at: int) -> None:
    step = 962_560.0 * (at <= ROUNDS)
    still = slope(ROUNDS, step + walk(1))
    assert abs(t(still)) < 3
    assert still.step == pytest.approx(962_560, rel=0.05)
    assert t(slope(ROUNDS, step + LEAK * ROUNDS + walk(1))) > 3


def test_two_steps_up_are_growth() -> None:
    assert t(slope(ROUNDS, 1e6 * (ROUNDS >= 200) + 1e6 * (ROUNDS >= 500) + walk(2))) > 3


def test_noise_that_clings_is_seldom_taken_for_growth_and_a_leak_is_seldom_missed() -> None:
    still = [t(slope(ROUNDS, walk(seed))) for seed in range(NUM_SEEDS)]
    leaking = [t(slope(ROUNDS, LEAK * ROUNDS + walk(seed))) for seed in range(NUM_SEEDS)]
    assert np.mean(np.array(still) > 3) < 0.05
    assert np.mean(np.array(leaking) > 3) > 0.95
