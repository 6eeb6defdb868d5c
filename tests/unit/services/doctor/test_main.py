from pathlib import Path

import pytest

from services.doctor.findings import found
from services.doctor.main import examine


def test_a_file_that_is_wrong_ends_the_examination(tmp_path: Path) -> None:
    (only,) = examine(tmp_path / "nowhere.yaml")
    assert (only.check, only.ok) == ("configuration", False)
    assert "no such file" in only.sentence


def test_a_bug_of_ours_is_no_finding() -> None:
    with pytest.raises(ZeroDivisionError):
        found("x", lambda: str(1 // 0))
