import copy
import pickle
import re
from pathlib import Path

import pytest

from commands.report.timeline import PHASES
from common.rounds import AbortReason, Phase
from coordinator.phases import NEXT_PHASES

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


def test_values_are_what_logs_stores_and_dashboards_hold() -> None:
    assert [phase.value for phase in Phase] == [
        *("collecting_offers", "share_keys", "collect_masked", "unmask", "ending"),
        *("committed", "aborted"),
    ]
    assert {reason.value for reason in AbortReason} == {
        *("below_threshold", "bad_update", "bad_shares", "damaged_shard", "storage_full"),
        *("storage_failed", "coordinator_restarted", "stopped"),
    }


@pytest.mark.parametrize("word", [*Phase, *AbortReason], ids=str)
def test_a_word_is_one_object_and_says_what_it_means(word: Phase | AbortReason) -> None:
    assert type(word)(word.value) is pickle.loads(pickle.dumps(word)) is copy.deepcopy(word) is word
    assert word.sentence


def test_a_round_is_over_where_no_phase_follows() -> None:
    assert {phase for phase in Phase if phase.is_over} == {p for p in Phase if not NEXT_PHASES[p]}


def test_operators_read_of_each_reason_what_the_code_says() -> None:
    section = OPERATIONS.read_text().partition("\n## 7. ")[2].partition("\n## 8. ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE))
    assert rows.keys() == {reason.value for reason in AbortReason}
    for reason in AbortReason:
        assert rows[reason.value].startswith(reason.sentence)


def test_the_reports_phases_are_in_the_order_of_a_round() -> None:
    assert list(PHASES) == ["share_keys", "collect_masked", "unmask", "commit", "ending"]
