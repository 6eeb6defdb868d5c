"""A replica that was away: which files it fetches, and that it ends where everybody stands."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from common import canonical
from common.documents import Control, Record, Version
from common.ids import Digest
from services.data_store import DataStore
from services.replica import Replica
from tests.small_chain import Coordinator

FEW, MANY = 3, 12
"""Steps of one byte a value against versions of about eight; from four on they are compared."""


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


def at_first(coordinator: Coordinator, folder: Path) -> tuple[Replica, DataStore]:
    """Return a replica that stands on version 1, and forget what it fetched."""
    replica, store = coordinator.replica(folder)
    replica.apply(coordinator.step())
    replica.collect()
    coordinator.fetched.clear()
    return replica, store


def missed(coordinator: Coordinator, num: int) -> list[Record]:
    return [coordinator.step() for _ in range(num)]


def follow(replica: Replica, records: Sequence[Record], snapshot_seq: int = -1) -> list[bool]:
    replica.choose_way(records, snapshot_seq)
    return [replica.apply(record) for record in records]


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
    assert follow(replica, records) == [True] * FEW
    assert coordinator.fetched == aggregates(records)
    assert at_head(replica, coordinator)


def test_of_many_missed_commits_the_last_version_comes_whole(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, store = at_first(coordinator, tmp_path)
    records = missed(coordinator, MANY)
    assert follow(replica, records) == [False] * (MANY - 1) + [True]
    assert set(coordinator.fetched) <= files_of(coordinator, records[-1])
    assert at_head(replica, coordinator)
    assert store.damaged(replica.version().blobs()) == []
    assert replica.apply(coordinator.step())
    assert at_head(replica, coordinator)


@pytest.mark.parametrize("num", range(2, MANY + 1, 2))
def test_it_costs_no_more_than_either_way(
    coordinator: Coordinator, tmp_path: Path, num: int
) -> None:
    files = coordinator.run.blobs.files
    replica, _ = at_first(coordinator, tmp_path)
    held = {*replica.version().blobs()}
    records = missed(coordinator, num)
    follow(replica, records)
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
    coordinator.gone.add(coordinator.run.version.momentum[0])
    assert follow(replica, records) == [True] * MANY
    assert at_head(replica, coordinator)


def test_if_the_head_goes_the_snapshot_that_is_kept_longer_is_next(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = at_first(coordinator, tmp_path)
    records = missed(coordinator, 2 * MANY)
    snapshot = records[MANY]
    coordinator.gone.add(coordinator.run.version.momentum[0])
    moved = follow(replica, records, snapshot.seq)
    assert moved == [False] * MANY + [True] * MANY
    assert set(aggregates(records[MANY + 1 :])) <= set(coordinator.fetched)
    assert not set(aggregates(records[: MANY + 1])) & set(coordinator.fetched)
    assert at_head(replica, coordinator)


def test_where_early_steps_are_gone_too_a_kept_version_on_the_way_is_found(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = at_first(coordinator, tmp_path)
    records = missed(coordinator, MANY)
    coordinator.gone.add(coordinator.run.version.momentum[0])
    coordinator.gone |= {*aggregates(records[:3]), records[0].digest, records[1].digest}
    assert follow(replica, records) == [False, False, *[True] * (MANY - 2)]
    assert at_head(replica, coordinator)


def test_what_was_fetched_ahead_outlives_a_collection_on_the_way(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = at_first(coordinator, tmp_path)
    records = missed(coordinator, MANY)
    replica.choose_way(records)
    fetched = len(coordinator.fetched)
    for record in records:
        replica.apply(record)
        replica.collect()
    assert len(coordinator.fetched) == fetched
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
    assert follow(replica, [*before, pause, back, *after]) == [*[False] * 3, *[True] * 3]
    assert coordinator.fetched[-2:] == aggregates(after)
    assert not set(aggregates(before)) & set(coordinator.fetched)
    assert at_head(replica, coordinator)
    assert not replica.position.rolled_back


def test_who_is_behind_goes_to_the_last_version_at_once(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = at_first(coordinator, tmp_path)
    (lost,) = missed(coordinator, 1)
    coordinator.gone |= {*aggregates([lost]), lost.digest}
    assert follow(replica, [lost]) == [False]
    assert replica.behind
    assert follow(replica, missed(coordinator, 2)) == [False, True]
    assert at_head(replica, coordinator)
