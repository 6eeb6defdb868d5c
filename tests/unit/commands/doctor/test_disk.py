import errno
import os
from pathlib import Path
from typing import Any

import pytest

from commands.doctor import disk
from common.errors import ConfigError


def test_of_racing_creations_exactly_one_succeeds_and_nothing_is_left(tmp_path: Path) -> None:
    assert "exactly one succeeds" in disk.exclusive(tmp_path / "log", num_racers=8)
    assert list((tmp_path / "log").iterdir()) == []


def test_a_file_system_where_both_racers_win_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", lambda a, b: Path(b).write_bytes(Path(a).read_bytes()))
    with pytest.raises(ConfigError, match=r"2 racers won.*choose another"):
        disk.exclusive(tmp_path)


def test_a_file_system_without_hard_links_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(ConfigError, match=r"not permitted.*hard links"):
        disk.exclusive(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_room_counts_what_the_folder_holds_already(tmp_path: Path) -> None:
    assert "needed in all" in disk.room(tmp_path, 1.0)
    with pytest.raises(ConfigError, match="free space, or choose"):
        disk.room(tmp_path, 1e18)
