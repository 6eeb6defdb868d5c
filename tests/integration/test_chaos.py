"""Some faults of `make chaos`, the same ones each time."""

from pathlib import Path

import pytest

from tests.rig.chaos.harness import Chaos

NUM_FAULTS, NUM_LONG = 6, 17
"""In `make test`, and with --long."""
SEED = 5


@pytest.mark.timeout(900)  # a busy machine is not a failure: each wait has its own limit
def test_faults_at_any_moment_lose_nothing_and_leave_nothing(tmp_path: Path, long: bool) -> None:
    num_faults = NUM_LONG if long else NUM_FAULTS
    with Chaos(tmp_path / "chaos", SEED, num_faults) as chaos:
        chaos.run()
        version = chaos.settle()
        chaos.end()
    chaos.witness.check(version, tmp_path / "replay")
    assert chaos.carried_out.total() == num_faults
    assert chaos.num_restarts <= num_faults
