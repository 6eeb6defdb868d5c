from dataclasses import fields, is_dataclass
from math import inf, nan
from operator import attrgetter

import pytest

from common.constants import CONSTANTS, Range, values
from common.documents import Algorithm, Stop
from common.terms import CODECS


def paths(document: object, before: str) -> set[str]:
    """Return the path of each field that holds no further document."""
    found: set[str] = set()
    for field in fields(document):  # type: ignore[arg-type]
        value, path = getattr(document, field.name), f"{before}.{field.name}"
        found |= paths(value, path) if is_dataclass(value) else {path}
    return found


def test_every_field_of_an_algorithm_and_a_stop_has_a_row_and_no_row_is_left() -> None:
    rows = [path for path, _, _ in values(Algorithm(), Stop())]
    assert len(rows) == len(CONSTANTS)
    assert set(rows) == paths(Algorithm(), "algorithm") | paths(Stop(), "stop")


def test_values_are_those_of_the_run_in_the_tables_order() -> None:
    algorithm, stop = Algorithm(local_steps=7), Stop(hours=0.5)
    found = {path: value for path, _, value in values(algorithm, stop)}
    assert [path.removeprefix("algorithm.") for path in found] == list(CONSTANTS)
    assert found["algorithm.local_steps"] == 7
    assert found["algorithm.codec.bits"] == attrgetter("codec.bits")(algorithm)
    assert found["stop.hours"] == 0.5


def test_every_default_is_what_it_may_be_and_every_row_says_what_it_is() -> None:
    for path, constant, value in values(Algorithm(), Stop()):
        assert constant.meaning, path
        if not isinstance(constant.may_be, str):
            assert value in constant.may_be, path


def test_a_codec_is_a_word_of_the_table() -> None:
    assert CONSTANTS["codec.kind"].may_be == CODECS


RANGES = {c.may_be.words: c.may_be for c in CONSTANTS.values() if isinstance(c.may_be, Range)}


@pytest.mark.parametrize("words", RANGES)
def test_a_ranges_words_say_its_limits(words: str) -> None:
    tried = (-inf, -1e-9, 0, 1e-9, 1 - 1e-9, 1, 1 + 1e-9, inf)
    expected = {
        "at least 0": tried[2:],
        "at least 1": tried[5:],
        "above 0": tried[3:],
        "above 0 and below 1": tried[3:5],
        "above 0 and at most 1": tried[3:6],
        "at least 0 and below 1": tried[2:5],
        "at least 0 and at most 1": tried[2:6],
    }
    assert tuple(x for x in tried if x in RANGES[words]) == expected[words]
    assert nan not in RANGES[words]


def test_a_sentence_begins_with_the_unit_where_there_is_one() -> None:
    assert CONSTANTS["max_staleness"].sentence == "commits; older work is discarded"
    assert CONSTANTS["outer.momentum"].sentence == "outer momentum"
