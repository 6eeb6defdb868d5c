"""Uploads that break by errors of ours, one after another."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from common.documents import Abort
from common.errors import StorageError
from tests.rig.rounds.small_chain import Coordinator
from tests.unit.services.worker.test_working import Cloud, FakePush


async def _breaks(*_: object, **__: object) -> None:
    raise StorageError("the disk is gone")


async def test_a_second_broken_upload_changes_nothing_of_what_the_first_one_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakePush, "__call__", _breaks)
    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    coordinator = Coordinator()
    coordinator.step()
    cloud = Cloud(coordinator, tmp_path)
    await cloud.join()
    first = cloud.working.driver.broken
    for _ in range(2):
        plan = await cloud.take_part()
        await cloud.uploaded()
        await asyncio.sleep(0)
        abort = Abort(plan.round, plan.roster, "stopped", "")
        await cloud.recorded(coordinator.append(abort=abort))
    assert str(first.exception()) == "the disk is gone"
    assert not failed
