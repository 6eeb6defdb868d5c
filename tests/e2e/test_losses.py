"""Real workers killed at every moment of a masked round: what commits, aborts, or is spent."""

from pathlib import Path

import pytest

from common.documents import Record
from tests.rig.chaos.losses import RESOLVE_S, Losses, Moment

NAMES = ("aws", "azure", "gcp", "hetzner", "onprem")

pytestmark = pytest.mark.timeout(1200)  # each wait has its own limit


def outcome(record: Record | None) -> str:
    """Return "" where no cohort was closed, "commit", or why it was aborted."""
    if record is None:
        return ""
    return "commit" if record.abort is None else record.abort.reason


@pytest.mark.parametrize(("num_workers", "num_lost"), [(5, 1), (5, 2), (4, 1)])
def test_while_three_are_left_a_loss_at_any_moment_commits(
    tmp_path: Path, num_workers: int, num_lost: int
) -> None:
    names = NAMES[:num_workers]
    with Losses(tmp_path / "losses", names) as losses:
        for moment in Moment:
            assert outcome(losses.play(moment, *names[-num_lost:])) == "commit"
        losses.end(tmp_path / "replay")


@pytest.mark.parametrize(("num_workers", "num_lost"), [(5, 3), (3, 1)])
def test_with_two_left_nothing_commits_before_all_have_answered_and_all_work_is_free(
    tmp_path: Path, num_workers: int, num_lost: int
) -> None:
    names = NAMES[:num_workers]
    expected = dict.fromkeys(Moment, "below_threshold")
    expected |= {Moment.OFFERED: "", Moment.OUTCOME: "commit"}
    del expected[Moment.SHARES]
    with Losses(tmp_path / "losses", names) as losses:
        for moment, ends in expected.items():
            assert outcome(losses.play(moment, *names[-num_lost:])) == ends
        losses.end(tmp_path / "replay")
    assert sum(losses.witness.spent.values()) == 0


@pytest.mark.parametrize(("num_workers", "num_lost"), [(5, 3), (3, 1)])
def test_what_all_had_answered_for_and_too_few_were_heard_of_is_spent_once(
    tmp_path: Path, num_workers: int, num_lost: int
) -> None:
    names = NAMES[:num_workers]
    with Losses(tmp_path / "losses", names, resolve_timeout_s=RESOLVE_S) as losses:
        ended = losses.play(Moment.SHARES, *names[-num_lost:])
        losses.end(tmp_path / "replay")
    assert outcome(ended) == "below_threshold"
    assert all(losses.witness.spent.values())
