from dataclasses import replace

import pytest

from common import canonical
from common.documents import Commit, Control, Record, Rollback
from common.errors import UnknownFileError
from services.coordinator.kept.retention import Retention
from tests.rig.rounds.run_script import Script, begun


class Log:
    """Records of a run, folded into what is kept."""

    def __init__(self, snapshot_every: int, version_bytes: int = 10**9) -> None:
        self.script: Script = begun()
        self.retention = Retention(self.script.genesis.version0, snapshot_every, version_bytes)
        for line in ("0 restart", "0 join aws"):
            self.script.tell(line)

    def commit(self, num: int = 1) -> None:
        at = len(self.script.log)
        for _ in range(num):
            now_s = float(len(self.script.log))
            for verb in ("offer aws", "numbers aws", "uploaded aws", "sealed aws", "computed"):
                self.script.tell(f"{now_s} {verb}")
        self._fold(at)

    def roll_back(self, version: int) -> None:
        at, now_s = len(self.script.log), float(len(self.script.log))
        self.script.tell(f"{now_s} rollback alice to={version}")
        self.script.tell(f"{now_s} restored to={version}")
        self._fold(at)

    def _fold(self, at: int) -> None:
        for record in self.script.log[at:]:
            assert self.retention.recorded(record)

    def digest(self, version: int) -> str:
        return self.script.digests()[version]

    def kept(self) -> list[int]:
        return sorted(self.script.digests().index(d) for d in self.retention.collect().versions)

    def commit_at(self, seq: int) -> Commit:
        commit = self.script.log[seq].commit
        assert commit is not None
        return commit


def test_head_the_one_before_and_two_snapshots_are_kept_with_the_steps_between() -> None:
    log = Log(snapshot_every=4)
    log.commit(10)

    assert log.kept() == [4, 8, 9, 10]
    steps = [log.commit_at(seq).aggregate for seq in range(5, 11)]
    assert log.retention.collect().files == tuple(steps)


def test_any_version_since_the_older_snapshot_is_replayed_from_the_nearest_kept_one() -> None:
    log = Log(snapshot_every=4)
    log.commit(10)

    for version, base in ((4, 4), (5, 4), (7, 4), (8, 8), (9, 9)):
        order = log.retention.restoring(version, log.commit_at)
        assert (order.digest, order.base) == (log.digest(version), log.digest(base))
        assert [c.plan.version + 1 for c in order.commits] == list(range(base + 1, version + 1))


@pytest.mark.parametrize("version", [0, 3, 11])
def test_an_older_one_is_refused_by_name(version: int) -> None:
    log = Log(snapshot_every=4)
    log.commit(10)

    with pytest.raises(UnknownFileError, match=rf"version {version} .* versions 4 to 10 are kept"):
        log.retention.restoring(version, log.commit_at)


def test_what_a_roll_back_brought_back_is_a_snapshot() -> None:
    log = Log(snapshot_every=5)
    log.commit(7)
    log.roll_back(6)  # version 8
    log.commit(1)

    assert log.digest(8) == log.digest(6)
    for version, base, num_commits in ((7, 5, 2), (8, 8, 0), (6, 5, 1)):
        order = log.retention.restoring(version, log.commit_at)
        assert (order.base, len(order.commits)) == (log.digest(base), num_commits)
    log.commit(1)  # version 10, a snapshot: 8 is the older one now
    with pytest.raises(UnknownFileError, match="versions 8 to 10"):
        log.retention.check(7)


def test_a_record_that_makes_no_version_changes_nothing() -> None:
    log = Log(snapshot_every=4)
    log.commit(2)
    before = log.retention.collect()
    record = replace(log.script.log[-1], commit=None, control=Control("pause", "alice", ""))

    assert not log.retention.recorded(record)
    assert log.retention.collect() == before


def test_a_roll_back_is_one_canonical_document_like_any_record() -> None:
    log = Log(snapshot_every=4)
    log.commit()
    log.roll_back(0)
    record = log.script.log[-1]

    assert record.rollback == Rollback(0, 0, "alice")
    assert canonical.decode(canonical.encode(record), Record) == record


def test_a_newcomer_begins_at_the_newest_snapshot_and_finds_every_step_from_there() -> None:
    log = Log(snapshot_every=4)
    for num_commits in range(1, 11):
        log.commit()
        seq = log.retention.start_seq
        start = log.script.log[seq].version
        assert start == num_commits - num_commits % 4
        assert log.digest(start) in log.retention.collect().versions
        steps = {log.commit_at(s).aggregate for s in range(start + 1, num_commits + 1)}
        assert steps <= set(log.retention.collect().files)


def test_what_is_kept_does_not_grow_with_the_run() -> None:
    log = Log(snapshot_every=4)
    sizes = []
    for _ in range(4):
        log.commit(8)
        sizes.append(len(log.retention.collect().versions) + len(log.retention.collect().files))
    assert len(set(sizes[1:])) == 1


def steps_bytes(log: Log, num_records: int) -> int:
    commits = (r.commit for r in log.script.log[:num_records])
    aggregates = sum(c.aggregate_bytes for c in commits if c is not None)
    return aggregates + sum(len(canonical.encode(r)) for r in log.script.log[1:num_records])


def test_who_has_version_0_begins_at_the_first_record_while_all_steps_since_are_kept() -> None:
    log = Log(snapshot_every=4)
    log.commit(3)
    assert (log.retention.start_seq, log.retention.first_start_seq) == (0, 0)
    log.commit(4)  # version 4 is the snapshot, and 0 the older one
    assert (log.retention.start_seq, log.retention.first_start_seq) == (4, 0)
    log.commit(1)  # of version 4 and 8 the older is 4: what led there is gone
    assert (log.retention.start_seq, log.retention.first_start_seq) == (8, 8)


@pytest.mark.parametrize(("more", "begins_at"), [(0, 2), (1, 0)])
def test_steps_to_the_snapshot_that_are_no_cheaper_than_it_are_not_taken(
    more: int, begins_at: int
) -> None:
    probe = Log(snapshot_every=2)
    probe.commit(3)
    log = Log(snapshot_every=2, version_bytes=steps_bytes(probe, 3) + more)
    log.commit(3)
    assert (log.retention.start_seq, log.retention.first_start_seq) == (2, begins_at)


def test_nobody_steps_from_version_0_across_a_roll_back() -> None:
    log = Log(snapshot_every=8)
    log.commit(2)
    log.roll_back(1)
    assert log.retention.first_start_seq == log.retention.start_seq == 3
