"""docs/words.md: each word stands once, and a round's phases are the code's."""

import re

from common.rounds import Phase
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "words.md").read_text()
ROWS = dict(re.findall(r"^\| (\S.*?) \| (.*?) \|", PAGE, re.MULTILINE))


def test_the_phases_are_all_that_a_round_has() -> None:
    assert re.findall(r"`(\w+)`", ROWS["phases"]) == [phase.value for phase in Phase]


def test_no_word_stands_twice() -> None:
    words = re.findall(r"^\| (\S.*?) \|", PAGE, re.MULTILINE)
    assert sorted(set(words) - {"word"}) == sorted(w for w in words if w not in ("word",))


def test_a_cohort_closes_and_a_round_does_not() -> None:
    pages = (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    assert not [p.name for p in pages if re.search(r"\bcloses? (a|the|its) round", p.read_text())]
