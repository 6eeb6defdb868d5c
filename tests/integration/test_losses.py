"""Real workers killed in a masked round; all moments: tests/e2e/test_losses.py."""

from pathlib import Path

import pytest

from tests.rig.chaos.gate import MissedError
from tests.rig.chaos.losses import Losses, Moment

NAMES = ("aws", "azure", "gcp", "hetzner", "onprem")


@pytest.mark.long("test_masked_rounds.py loses as many; test_federation.py kills a real worker")
@pytest.mark.timeout(300)  # a busy machine is not a failure: each wait has its own limit
def test_of_five_two_may_be_killed_and_three_abort_a_round_and_no_step_is_lost(
    tmp_path: Path,
) -> None:
    with Losses(tmp_path / "losses", NAMES) as losses:
        two = losses.play(Moment.MEMBERS, "azure", "onprem")
        three = losses.play(Moment.SURVIVORS, "aws", "gcp", "onprem")
        one = losses.play(Moment.OUTCOME, "gcp")
        losses.gate.keep_back({"aws": "plan"})
        with pytest.raises(MissedError, match=r"have not come: {.aws.: .plan.}"):
            losses.gate.wait_until_kept(within_s=0.5)  # the run is paused: there is none
        losses.gate.let_go(lost=())
        losses.end(tmp_path / "replay")
    assert two is not None
    assert two.commit is not None
    assert two.commit.survivors == ("aws", "gcp", "hetzner")
    assert three is not None
    assert three.abort is not None
    assert three.abort.reason == "below_threshold"
    assert "aws is gone; gcp is gone; onprem is gone" in three.abort.detail
    assert one is not None
    assert one.commit is not None
    assert one.commit.survivors == NAMES
