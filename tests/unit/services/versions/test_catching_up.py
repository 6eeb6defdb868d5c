"""A replica that was away: which files it fetches, and that it ends where everybody stands."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from common import canonical
from common.documents import Control, Record, Version
from common.ids import Digest
from services.disk.data_store import DataStore
from services.versions.replica import Replica
from tests.rig.rounds.small_chain import Coordinator

FEW, MANY = 3, 12
"""Steps of one byte a value against versions of about eight; from four on they are compared."""


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


def at_first(coordinator: Coordinator, folder: Path) -> tuple[Replica, DataStore]:
    """Return a replica that stands on version 1, and forget what it fetched."""
    replica, store = coordinator.replica(folder)
    replica.follow((coordinator.step(),))
    replica.collect()
    coordinator.fetched.clear()
    return replica, store


def missed(coordinator: Coordinator, num: int) -> list[Record]:
    return [coordinator.step() for _ in range(num)]


def aggregates(records: Sequence[Record]) -> list[Digest]:
    return [r.commit.aggregate for r in records if r.commit is not None]


def at_head(replica: Replica, coordinator: Coordinator) -> bool:
    return not replica.behind and replica.version() == coordinator.run.version


def files_of(coordinator: Coordinator, record: Record) -> set[Digest]:
    version = canonical.decode(coordinator.run.blobs.files[record.digest], Version)
    return {record.digest, *version.blobs()}


def test_few_missed_commits_are_stepped_through(coordinator: Coordinator, tmp_path: Path) -> None:
    replica, _ = at_first(coordinator, tmp_path)
    records = missed(coordinator, FEW)
    assert replica.follow(records)
    assert coordinator.fetched == aggregates(records)
    assert at_head(replica, coordinator)


def test_of_many_missed_commits_the_last_version_comes_whole(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, store = at_first(coordinator, tmp_path)
    records = missed(coordinator, MANY)
    assert replica.follow(records)
    assert set(coordinator.fetched) <= files_of(coordinator, records[-1])
    assert at_head(replica, coordinator)
    assert store.damaged(replica.version().blobs()) == []
    assert replica.follow((coordinator.step(),))
    assert at_head(replica, coordinator)


@pytest.mark.parametrize("num", range(2, MANY + 1, 2))
def test_it_costs_no_more_than_either_way(
    coordinator: Coordinator, tmp_path: Path, num: int
) -> None:
    files = coordinator.run.blobs.files
    replica, _ = at_first(coordinator, tmp_path)
    held = {*replica.version().blobs()}
    records = missed(coordinator, num)
    replica.follow(records)
    assert at_head(replica, coordinator)
    steps = sum(len(files[d]) for d in aggregates(records))
    whole = sum(len(files[d]) for d in files_of(coordinator, records[-1]) - held)
    cost = sum(len(files[d]) for d in coordinator.fetched)
    document = len(files[records[-1].digest])  # is read to see what the version has
    assert cost <= min(steps + document, whole)


def test_a_version_that_goes_while_it_is_fetched_leaves_the_steps(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = at_first(coordinator, tmp_path)
    records = missed(coordinator, MANY)
    coordinator.gone.add(coordinator.run.version.state["momentum"][0])
    assert replica.follow(records)
    assert at_head(replica, coordinator)


def test_if_the_head_goes_the_snapshot_that_is_kept_longer_is_next(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = at_first(coordinator, tmp_path)
    records = missed(coordinator, 2 * MANY)
    snapshot = records[MANY]
    coordinator.gone.add(coordinator.run.version.state["momentum"][0])
    assert replica.follow(records, snapshot.seq)
    assert set(aggregates(records[MANY + 1 :])) <= set(coordinator.fetched)
    assert not set(aggregates(records[: MANY + 1])) & set(coordinator.fetched)
    assert at_head(replica, coordinator)


def test_where_early_steps_are_gone_too_a_kept_version_on_the_way_is_found(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = at_first(coordinator, tmp_path)
    records = missed(coordinator, MANY)
    coordinator.gone.add(coordinator.run.version.state["momentum"][0])
    coordinator.gone |= {*aggregates(records[:3]), records[0].digest, records[1].digest}
    assert replica.follow(records)
    assert at_head(replica, coordinator)


def test_what_lies_on_the_way_is_never_stood_on(coordinator: Coordinator, tmp_path: Path) -> None:
    replica, store = at_first(coordinator, tmp_path)
    stood = replica.position
    records = missed(coordinator, 3)
    coordinator.gone |= {*aggregates(records[2:]), records[2].digest}  # the last one cannot be had
    assert not replica.follow(records)
    assert (replica.position.version, replica.position.digest) == (stood.version, stood.digest)
    assert replica.behind
    replica.collect()
    assert {path.name for path in store.root.rglob("*") if path.is_file()} >= {stood.digest}
    assert not store.has(records[1].digest)
    assert replica.follow(missed(coordinator, 1))
    assert at_head(replica, coordinator)


def test_across_a_roll_back_nothing_before_it_is_fetched(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = at_first(coordinator, tmp_path)
    first = coordinator.run.version
    before = missed(coordinator, 2)
    pause = coordinator.append(control=Control("pause", "ann", ""))
    back = coordinator.roll_back(1, first)
    after = missed(coordinator, 2)
    assert replica.follow([*before, pause, back, *after])
    assert coordinator.fetched[-2:] == aggregates(after)
    assert not set(aggregates(before)) & set(coordinator.fetched)
    assert at_head(replica, coordinator)
    assert replica.position.rolled_back  # in one move with the commits after it


def test_who_is_behind_goes_to_the_last_version_at_once(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = at_first(coordinator, tmp_path)
    (lost,) = missed(coordinator, 1)
    coordinator.gone |= {*aggregates([lost]), lost.digest}
    assert not replica.follow([lost])
    assert replica.behind
    assert replica.follow(missed(coordinator, 2))
    assert at_head(replica, coordinator)
