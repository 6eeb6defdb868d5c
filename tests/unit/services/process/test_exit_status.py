import re
from pathlib import Path

import pytest

from common.errors import (
    BrokenUpdateError,
    ConfigError,
    DivergedError,
    IncompatibleError,
    StaleLeaderError,
    StorageError,
    ToldToEndError,
)
from services.process.exit_status import Exit, exit_of
from services.wire.child import ChildEndedError
from services.wire.operator_link import UnreachableError

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("x"), 2),
        (ToldToEndError(), 75),
        (DivergedError("x"), 1),
        (IncompatibleError("x"), 1),
        (StorageError("x"), 1),
        (StaleLeaderError("x"), 1),
        (ChildEndedError("x"), 1),
        (BrokenUpdateError("x"), 1),
        (UnreachableError("x"), 1),
        (ZeroDivisionError(), 1),
    ],
)
def test_every_error_has_its_status(error: BaseException, status: int) -> None:
    assert exit_of(error) == status


def test_the_numbers_are_what_supervisors_were_told() -> None:
    assert {e.name: int(e) for e in Exit} == {"OVER": 0, "FAILED": 1, "SETTINGS": 2, "TOLD": 75}


def test_no_except_exception_keeps_a_process_that_is_told_to_end() -> None:
    assert not issubclass(ToldToEndError, Exception)


def test_the_table_in_the_docs_is_the_table_in_the_code() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    section = text.partition("\n## 8. ")[2].partition("\n## 9. ")[0]
    rows = dict(re.findall(r"^\| (\d+) \| ([^|]+) \|", section, re.MULTILINE))
    assert {int(n): s.strip() for n, s in rows.items()} == {int(e): e.sentence for e in Exit}
