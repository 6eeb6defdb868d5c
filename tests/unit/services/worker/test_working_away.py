"""A worker that was away: it waits until it knows what it missed, and loses no work."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from common.documents import Record
from common.errors import UnknownFileError
from services.worker.messages import Begin, Merge
from tests.rig.rounds.small_chain import Coordinator
from tests.unit.services.worker.test_working import ME, OTHERS, Cloud

MANY = 12
"""Commits whose steps are more bytes than the version that they lead to."""


@pytest.fixture
async def cloud(tmp_path: Path) -> Cloud:
    coordinator = Coordinator()
    coordinator.step()
    made = Cloud(coordinator, tmp_path)
    await made.join()
    return made


def merges(cloud: Cloud) -> list[int]:
    return [m.clock.version for m in cloud.trainer.told if isinstance(m, Merge)]


async def test_who_missed_many_moves_once_and_its_work_that_counted_is_merged(
    cloud: Cloud,
) -> None:
    plan = await cloud.expose()
    stage = cloud.state.stage
    residual = stage.residual.read_bytes()
    await cloud.disconnected()
    cloud.committed(ME, *OTHERS)
    for _ in range(MANY):
        cloud.coordinator.step()
    cloud.coordinator.fetched.clear()
    await cloud.join()
    for record in cloud.coordinator.records[1:]:
        await cloud.recorded(record)

    assert merges(cloud) == [MANY + 2]
    merge = cloud.trainer.last(Merge)
    assert (merge.fate, merge.round) == ("contributed", plan.round)
    assert "stage" in merge.anchor[0]
    assert merge.head == cloud.replica.segments()
    assert cloud.replica.version() == cloud.coordinator.run.version
    manifest = cloud.state.load()
    assert manifest is not None
    assert manifest.position.digest == cloud.coordinator.records[-1].digest
    assert (cloud.state.folder(manifest) / "residual.f32").read_bytes() == residual
    sums = {r.commit.aggregate for r in cloud.coordinator.records if r.commit is not None}
    assert not sums & set(cloud.coordinator.fetched)


class KilledError(Exception):
    pass


def killed(records: Sequence[Record], snapshot_seq: int) -> bool:
    raise KilledError


async def test_a_kill_on_the_way_to_a_whole_version_loses_nothing(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cloud.expose()
    cloud.committed(ME, *OTHERS)
    for _ in range(MANY):
        cloud.coordinator.step()
    await cloud.join()
    *most, last = cloud.coordinator.records[1:]
    for record in most:
        await cloud.recorded(record)
    monkeypatch.setattr(cloud.replica, "follow", killed)
    with pytest.raises(KilledError):
        await cloud.recorded(last)

    again = Cloud(cloud.coordinator, tmp_path)
    await again.resume()
    assert again.trainer.last(Begin).clock.version == 1
    await again.join()
    for record in cloud.coordinator.records[again.replica.position.next_seq :]:
        await again.recorded(record)
    assert again.replica.position.digest == last.digest
    merge = again.trainer.last(Merge)
    assert (merge.fate, merge.clock.version) == ("contributed", last.version)


async def test_a_newcomer_whose_snapshot_goes_while_it_is_fetched_asks_again(
    tmp_path: Path,
) -> None:
    coordinator = Coordinator()
    snapshot = coordinator.step()
    cloud = Cloud(coordinator, tmp_path)
    coordinator.gone.add(coordinator.run.version.state["momentum"][0])
    await cloud.join()
    assert (cloud.num_redials, cloud.conduct.begun) == (1, False)
    coordinator.step()
    await cloud.join()
    assert cloud.conduct.begun
    assert cloud.replica.position.version == 2
    with pytest.raises(UnknownFileError):
        cloud.replica._complete(snapshot.digest)
