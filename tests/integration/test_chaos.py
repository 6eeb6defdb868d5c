"""Some faults of `make chaos`, the same ones each time."""

from pathlib import Path

import pytest

from tests.rig.chaos.harness import Chaos

NUM_FAULTS = 12
SEED = 5


@pytest.mark.timeout(900)  # a busy machine is not a failure: each wait has its own limit
def test_faults_at_any_moment_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    with Chaos(tmp_path / "chaos", SEED, NUM_FAULTS) as chaos:
        chaos.run()
        version = chaos.settle()
        chaos.end()
    chaos.witness.check(version, tmp_path / "replay")
    assert chaos.carried_out.total() == NUM_FAULTS
    assert chaos.num_restarts <= NUM_FAULTS
