"""Two coordinators and a server of somebody else's under some faults of `make chaos`."""

from pathlib import Path

import pytest

from tests.rig.chaos.standby import StandbyChaos

NUM_FAULTS = 15
SEED = 3


@pytest.mark.program("toxiproxy-server", required=False)
@pytest.mark.timeout(400)  # a busy machine is not a failure: each wait has its own limit
def test_whoever_leads_may_fall_and_the_other_goes_on_without_loss(tmp_path: Path) -> None:
    with StandbyChaos(tmp_path / "chaos", SEED, NUM_FAULTS) as chaos:
        chaos.run()
        version = chaos.settle()
        chaos.end()
    chaos.witness.check(version, tmp_path / "replay")
    assert chaos.carried_out.total() == NUM_FAULTS
    assert chaos.num_takeovers > 0
