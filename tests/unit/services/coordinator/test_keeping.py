from common.ids import Digest
from services.coordinator.keeping import Keeping
from services.coordinator.messages import Collect


def version(n: int) -> Digest:
    return Digest(f"v{n}")


def aggregate(n: int) -> Digest:
    return Digest(f"a{n}")


def kept_after(num_commits: int, snapshot_every: int = 4) -> tuple[Keeping, Collect]:
    keeping = Keeping(version(0), snapshot_every)
    for n in range(1, num_commits + 1):
        keeping.committed(n, version(n), aggregate(n), seq=10 * n)
    return keeping, keeping.collect()


def test_the_last_two_snapshots_the_head_and_the_version_before_it_stay() -> None:
    _, collect = kept_after(11)
    assert set(collect.versions) == {version(n) for n in (4, 8, 10, 11)}


def test_every_step_since_the_older_snapshot_stays() -> None:
    _, collect = kept_after(11)
    assert set(collect.files) == {aggregate(n) for n in range(5, 12)}


def test_a_newcomer_begins_at_the_newest_snapshot_and_finds_every_step_from_there() -> None:
    for num_commits in range(20):
        keeping, collect = kept_after(num_commits)
        start = keeping.start_seq // 10
        assert start == num_commits - num_commits % 4
        assert version(start) in collect.versions
        assert {aggregate(n) for n in range(start + 1, num_commits + 1)} <= set(collect.files)


def test_what_is_kept_does_not_grow_with_the_run() -> None:
    sizes = [len(c.versions) + len(c.files) for _, c in (kept_after(100), kept_after(1000))]
    assert sizes[0] == sizes[1] <= 4 + 8
