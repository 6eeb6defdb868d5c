from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from common import canonical
from common.documents import Control, Record
from common.errors import DivergedError, ProtocolError
from common.ids import Digest
from tests.rig.rounds.small_chain import Coordinator
from worker.rounds.position import genesis_position


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


def test_a_replica_that_applies_every_record_stands_on_the_head(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, store = coordinator.replica(tmp_path)
    for _ in range(3):
        assert replica.follow((coordinator.step(),))
    assert not replica.follow((coordinator.append(control=Control("pause", "ann", "")),))

    assert replica.position.digest == canonical.digest(coordinator.run.version)
    assert replica.position.version == 3
    assert replica.version() == coordinator.run.version
    assert store.damaged(replica.version().blobs()) == []


def test_one_flipped_bit_in_the_head_heals_by_download(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, store = coordinator.replica(tmp_path)
    replica.follow((coordinator.step(),))
    damaged = replica.version().theta[0]
    flip_a_bit(store.path(damaged))
    coordinator.fetched.clear()

    assert replica.follow((coordinator.step(),))

    assert damaged in coordinator.fetched
    assert replica.healed_segments == 1
    assert replica.version() == coordinator.run.version


def test_a_damaged_aggregate_heals_as_well(coordinator: Coordinator, tmp_path: Path) -> None:
    replica, store = coordinator.replica(tmp_path)
    record = coordinator.step()
    assert record.commit is not None
    store.write(coordinator.run.blobs.files[record.commit.aggregate])
    flip_a_bit(store.path(record.commit.aggregate))

    assert replica.follow((record,))
    assert replica.version() == coordinator.run.version


def test_a_sound_base_that_gives_another_digest_stops_the_process(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = coordinator.replica(tmp_path)
    wrong = replace(coordinator.step(), digest=Digest("0" * 64))

    with pytest.raises(DivergedError, match="although the base's files are sound"):
        replica.follow((wrong,))
    assert replica.position.version == 0


def test_where_a_step_is_no_longer_kept_the_version_is_downloaded_whole(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = coordinator.replica(tmp_path)
    record = coordinator.step()
    assert record.commit is not None
    coordinator.gone.add(record.commit.aggregate)

    assert replica.follow((record,))
    assert replica.version() == coordinator.run.version


def test_where_neither_is_kept_it_waits_for_a_version_that_is(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = coordinator.replica(tmp_path)
    first = coordinator.step()
    assert first.commit is not None
    coordinator.gone |= {first.commit.aggregate, first.digest}
    assert not replica.follow((first,))
    assert replica.behind
    assert replica.position.version == 0
    assert replica.position.next_seq == 1

    assert replica.follow((coordinator.step(),))
    assert not replica.behind
    assert replica.version() == coordinator.run.version


def test_what_was_not_kept_is_asked_for_again_where_nothing_else_comes(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = coordinator.replica(tmp_path)
    assert not replica.retry(0)  # it stands on the newest
    first = coordinator.step()
    assert first.commit is not None
    gone = {first.commit.aggregate, first.digest}
    coordinator.gone |= gone
    assert not replica.follow((first,))
    assert not replica.retry(1)
    coordinator.gone -= gone
    assert not replica.retry(2)  # another record is on its way
    assert replica.behind

    assert replica.retry(1)
    assert not replica.behind
    assert replica.version() == coordinator.run.version


def test_a_newcomer_starts_at_the_newest_record(coordinator: Coordinator, tmp_path: Path) -> None:
    replica, _ = coordinator.replica(tmp_path)
    coordinator.step()
    replica.start_at(coordinator.step())

    assert replica.position.version == 2
    assert replica.follow((coordinator.step(),))
    assert replica.version() == coordinator.run.version


@pytest.mark.parametrize(
    "change",
    [
        lambda r: replace(r, seq=r.seq + 1),
        lambda r: replace(r, previous=Digest("0" * 64)),
    ],
)
def test_a_record_that_does_not_follow_is_refused_and_changes_nothing(
    coordinator: Coordinator, tmp_path: Path, change: Callable[[Record], Record]
) -> None:
    replica, _ = coordinator.replica(tmp_path)
    with pytest.raises(ProtocolError, match="does not follow"):
        replica.follow((change(coordinator.step()),))
    assert replica.position == genesis_position(coordinator.run.genesis)


def test_a_record_that_moves_the_head_without_a_commit_is_refused(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = coordinator.replica(tmp_path)
    record = replace(coordinator.append(control=Control("pause", "ann", "")), version=5)
    with pytest.raises(DivergedError, match="its version is 5, after 0 a control must give 0"):
        replica.follow((record,))


def test_collecting_keeps_the_current_version_and_nothing_else(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = coordinator.replica(tmp_path)
    for _ in range(3):
        replica.follow((coordinator.step(),))
        replica.collect()

    kept = {p.name for p in tmp_path.iterdir()}
    assert kept == {replica.position.digest, *replica.version().blobs()}
    assert replica.follow((coordinator.step(),))


def test_a_roll_back_brings_an_earlier_state_back_under_a_new_number(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = coordinator.replica(tmp_path)
    replica.follow((coordinator.step(),))
    first = coordinator.run.version
    replica.follow((coordinator.step(),))
    assert not replica.position.rolled_back
    replica.collect()

    assert replica.follow((coordinator.roll_back(1, first),))

    assert (replica.position.version, replica.version()) == (3, first)
    assert replica.position.rolled_back
    assert replica.follow((coordinator.step(),))
    assert replica.version() == coordinator.run.version
    assert not replica.position.rolled_back


def test_who_could_not_follow_a_roll_back_still_crosses_it_with_the_next_move(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    replica, _ = coordinator.replica(tmp_path)
    first = coordinator.run.version
    replica.follow((coordinator.step(),))
    replica.collect()
    rollback = coordinator.roll_back(0, first)
    coordinator.gone.add(rollback.digest)

    assert not replica.follow((rollback,))
    assert replica.behind
    assert replica.follow((coordinator.step(),))
    assert replica.version() == coordinator.run.version
    assert replica.position.rolled_back
