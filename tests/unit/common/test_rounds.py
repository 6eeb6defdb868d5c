import copy
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from commands.report.timeline import PHASES
from common.rounds import AbortReason, LeaveReason, Phase, Rule
from coordinator.round import NEXT_PHASES

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


Word = Phase | AbortReason | LeaveReason | Rule


@pytest.mark.parametrize("word", [*Phase, *AbortReason, *LeaveReason, *Rule], ids=repr)
def test_a_word_is_one_object_and_says_what_it_means(word: Word) -> None:
    kind: Any = type(word)
    assert kind(word.value) is pickle.loads(pickle.dumps(word)) is copy.deepcopy(word) is word
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


@pytest.mark.parametrize("words", [Phase, AbortReason, LeaveReason, Rule])
def test_every_word_has_a_sentence_of_its_own(words: type[Word]) -> None:
    sentences = [word.sentence for word in words]
    assert len(set(sentences)) == len(sentences)


def test_the_page_on_metrics_names_every_reason_for_which_a_member_is_left_out() -> None:
    page = (OPERATIONS.parent / "metrics.md").read_text()
    said = page.partition("**Rules and reasons.**")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+)`", said)) == {"rule", *(r.value for r in LeaveReason)}
