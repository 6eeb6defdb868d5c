"""docs/operations.md, section 3: the built-in learner's settings are the code's."""

import re

import yaml

from tests.docs.pages import ROOT
from worker.training.learner_settings import checked, unknown

PAGE = (ROOT / "docs" / "operations.md").read_text()
SECTION = PAGE.partition("The built-in learner's settings, all of them:")[2].partition("\n\nThe ")[
    0
]
TABLE = dict(re.findall(r"^\| `(\w+)` \| (.*?) ?\|", SECTION, re.MULTILINE))


def test_the_names_are_all_that_there_are() -> None:
    assert list(TABLE) == ["model", *checked({})]


def test_the_defaults_are_the_codes() -> None:
    assert {n: yaml.safe_load(d) for n, d in TABLE.items() if d} == checked({})


def test_where_the_learning_rate_is_says_the_refusal_too() -> None:
    (where,) = re.findall(r"The learning rate is none of them: (.*)\.$", PAGE, re.MULTILINE)
    assert where in unknown("lr", ())
