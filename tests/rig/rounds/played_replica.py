"""A worker's replica of a made-up run: where it stands, and which files there still are.

It answers as `services/versions/replica.py` does. Which way is the cheapest is decided by the
product's own formulas; only the files, and so all arithmetic, are made up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from common.documents import Record
from common.errors import DivergedError
from common.ids import Digest
from common.log_head import LogHead
from tests.rig.rounds.played_run import PlayedRun, moves
from worker.rounds.catch_up import step_bytes, version_bytes, ways
from worker.rounds.ports import Checked, Followed
from worker.rounds.position import Position, genesis_position


@dataclass
class PlayedReplica:
    """See the module docstring. Each answer comes with how it is shown.

    Args:
        gone: digests of versions and sums that nobody keeps.
        here: versions whose files are in the worker's store.
    """

    run: PlayedRun
    gone: set[Digest] = field(default_factory=set)
    here: set[Digest] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.position = genesis_position(self.run.run.genesis)

    def lose(self, what: str) -> None:
        """Have nobody keep version:N, sum:N, or N, which is both."""
        kind, _, number = what.rpartition(":")
        record = next(r for r in self.run.records if r.version == int(number) and moves(r))
        if kind != "sum":
            self.gone.add(record.digest)
        if kind != "version" and record.commit is not None:
            self.gone.add(record.commit.aggregate)

    def check(self, record: Record, told: str) -> tuple[Checked, str]:
        """Check a sum and its step.

        Args:
            told: gone, tags, step = what is wrong with it; "" = nothing.

        Raises:
            DivergedError: the step is.
        """
        if told == "gone":
            return Checked(gone=True), "its sum is no longer kept"
        if told == "tags":
            wrong = "shard 0: the published sum is not what its survivors sent"
            return Checked(wrong), wrong
        if told == "step":
            raise _other_digest(record)
        self.here.add(record.digest)
        return Checked(), "sum and step are right"

    def start_at(self, record: Record) -> tuple[Position | None, str]:
        """Stand on a record's version."""
        if not self._is_kept(record.digest):
            return None, "no longer kept"
        return self._stand(Position(LogHead.at(record), record.version, record.digest)), "here"

    def follow(
        self, records: Sequence[Record], snapshot_seq: int, told: str
    ) -> tuple[Followed, str]:
        """Follow records to the version of the last one.

        Raises:
            DivergedError: `told` is step: one gives another digest.
        """
        at, last = self.position, records[-1]
        if told == "step":
            raise _other_digest(last)
        past = at.past(self.run.run.genesis, records)
        leads_on = at.leads_on(records)
        way = self._way(records, snapshot_seq, behind=at.behind) if leads_on else ""
        if way:
            return Followed(self._stand(past.caught_up()), moved=True), f"moved {way}"
        self.position = past
        kept = f"not kept: still on version {at.version}" if leads_on else "nothing moves"
        return Followed(past, moved=False), kept

    def retry(self, num_records: int) -> tuple[Followed, str]:
        """Stand on the version that it is behind."""
        at = self.position
        if not at.waits_for_files(num_records):
            return Followed(at, moved=False), "more is on its way"
        if not self._is_kept(at.log.digest):
            return Followed(at, moved=False), "still not kept"
        return Followed(self._stand(at.caught_up()), moved=True), "moved"

    def _is_kept(self, digest: Digest) -> bool:
        return self.run.state(digest) is not None and digest not in self.gone

    def _stand(self, position: Position) -> Position:
        self.position, self.here = position, {position.digest}
        return position

    def _way(self, records: Sequence[Record], snapshot_seq: int, *, behind: bool) -> str:
        """Return the cheapest way of those that the files allow; "" if there is none."""
        steps = [self._step_bytes(r) for r in records]
        wholes = {}
        for i, r in enumerate(records):
            may_be_whole = r is records[-1] or r.rollback is not None or r.seq == snapshot_seq
            version = self.run.state(r.digest)
            if may_be_whole and version is not None and self._is_kept(r.digest):
                size = version_bytes(self.run.run.genesis, version, lambda _: False)
                wholes[i] = 0 if r.digest in self.here else size
        for way in ways(steps, wholes, behind=behind):
            first = 0 if way.whole is None else way.whole + 1
            num = sum(r.commit is not None for r in records[first:])
            whole = [] if way.whole is None else [f"to version {records[way.whole].version} whole"]
            return " and ".join((*whole, *([f"by {num} step" + "s" * (num > 1)] * bool(num))))
        return ""

    def _step_bytes(self, r: Record) -> int | None:
        if r.commit is not None and r.digest in self.here:
            return 0  # it was tried as its sum was checked
        if r.commit is not None and r.commit.aggregate in self.gone:
            return None
        return step_bytes(r, lambda _: False)


def _other_digest(record: Record) -> DivergedError:
    return DivergedError(f"version {record.version}: replaying gives another digest")
