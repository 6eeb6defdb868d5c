from dataclasses import replace

import pytest

from common.documents import Algorithm
from common.errors import ConfigError
from common.ids import WorkerId
from common.weight.gains import GAINS, gains
from common.weight.weights import weights
from tests.rig.rounds.small_run import NUMBERS

A, B = WorkerId("a"), WorkerId("b")

WIRE = {
    "normalised": 65535,  # FedNova (Wang et al. 2020): by what the local steps add up to
    "tokens": 32768,
    "samples": 16384,  # FedAvg (McMahan et al. 2017, algorithm 1): n_k/n
    "uniform": 65535,
}
"""Weight beside `NUMBERS` of a member with half of its tokens, a quarter of its samples."""


@pytest.mark.parametrize("name", GAINS)
def test_each_gain_weighs_by_its_own_number(name: str) -> None:
    algorithm = Algorithm(normalisation=name)
    small = replace(NUMBERS, tokens=1000, lr_sum=0.02, samples=4)

    assert weights({A: NUMBERS, B: small}, algorithm, 1).u[B] == WIRE[name]


def test_a_gain_that_nobody_knows_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="normalisation is 'loss', must be") as e:
        gains([NUMBERS], Algorithm(normalisation="loss"))
    assert all(name in str(e.value) for name in GAINS)
