import errno
import os
import time
from pathlib import Path

import pytest

from common.errors import BusyError, OutOfDescriptorsError, StorageError, StorageFullError
from services.disk.files import Draft, patiently, storage_errors


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_too_many_open_files_are_busy_and_no_failure_of_the_disk(number: int) -> None:
    with (
        pytest.raises(OutOfDescriptorsError, match=r"cannot read x: .*too many|Too many") as caught,
        storage_errors("cannot read x"),
    ):
        raise OSError(number, os.strerror(number))
    assert isinstance(caught.value, BusyError)
    assert not isinstance(caught.value, StorageError)


def test_a_full_disk_and_a_broken_one_are_what_they_were() -> None:
    with pytest.raises(StorageFullError), storage_errors("cannot write x"):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(StorageError, match="cannot write x"), storage_errors("cannot write x"):
        raise OSError(errno.EIO, "broken")


def test_a_draft_without_a_descriptor_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", none_left)
    with pytest.raises(OutOfDescriptorsError):
        Draft(tmp_path, "x")


def test_what_cannot_be_done_without_waits_for_a_descriptor_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)

    def work(value: int) -> int:
        if len(waits) < 3:
            raise OutOfDescriptorsError("cannot write x")
        return value

    assert patiently(work, 7) == 7
    assert len(waits) == 3
    assert [r.message for r in caplog.records] == ["waiting: cannot write x"]


def test_it_waits_for_nothing_else() -> None:
    def full() -> None:
        raise StorageFullError("full")

    with pytest.raises(StorageFullError):
        patiently(full)
