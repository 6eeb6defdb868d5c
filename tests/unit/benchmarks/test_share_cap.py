from pathlib import Path

import pytest

from benchmarks.compression import FULL
from benchmarks.share_cap import CAPS, REFERENCE, SPEEDS, cost, run_of
from benchmarks.texts import Texts
from common.documents import Algorithm, Numbers
from common.ids import Digest
from common.thresholds import round_threshold
from common.weight.weights import weights
from services.config.soundness import refuse_unsound
from simulator.experiment import Learned
from tests.rig.rounds.small_run import WORKERS


def learned(loss: float) -> Learned:
    return Learned(Digest(""), 10, loss, 0.0, 1, 1, 40, 1, 1, 0.0, 0, 1.0, {}, ())


@pytest.mark.parametrize("cap", CAPS)
def test_each_cap_is_a_sound_run_at_uneven_speeds_and_differs_in_nothing_else(
    cap: str, tmp_path: Path
) -> None:
    texts = Texts((tmp_path,) * 4, tmp_path)
    run, reference = run_of(cap, 1, FULL, texts), run_of(REFERENCE, 1, FULL, texts)
    refuse_unsound(run.algorithm, run.stop, num_workers=len(run.clouds))
    assert tuple(c.steps_per_s for c in run.clouds) == SPEEDS
    assert run.stop == reference.stop
    assert run.algorithm.max_share == CAPS[cap]


def test_the_reference_is_the_default_and_what_the_caps_do_to_the_fast_ones() -> None:
    assert Algorithm().max_share == CAPS[REFERENCE]
    numbers = {
        w: Numbers(int(s) * 500, s * 0.01, 0, 65535, int(s) * 5, 16)
        for w, s in zip(WORKERS, SPEEDS, strict=True)
    }
    found = {}
    for cap, share in CAPS.items():
        algorithm = Algorithm(max_share=share)
        w = weights(numbers, algorithm, round_threshold(4, algorithm))
        parts = [w.u[m] * numbers[m].lr_sum for m in WORKERS]
        found[cap] = [round(p / parts[-1], 2) for p in parts]
    assert found == {"0.75": [4, 4, 1, 1], "0.6": [3, 3, 1, 1], "2/K": [2, 2, 1, 1]}


def test_a_cost_is_the_mean_of_pairs_with_its_bound() -> None:
    found = cost([learned(2.02), learned(2.04)], [learned(2.0), learned(2.0)])
    assert (found.loss, found.cohort) == (pytest.approx(2.03), 4.0)
    assert found.excess == pytest.approx(0.015)
    assert found.most == pytest.approx(0.015 + 6.314 * 0.005)
