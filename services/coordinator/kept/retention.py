"""Which versions and aggregates stay on disk, and which version can be made whole from them.

Kept: the head and the version before it; the last two snapshots (every so many commits, and what a
roll-back brought back), where newcomers begin; every aggregate since the older of them, so that
whoever stands on a version since then catches up step by step, and a roll-back reaches any of
them. Everything else can go: records stay for ever, and are small.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from common import canonical
from common.documents import Commit, Record
from common.errors import UnknownFileError
from common.ids import Digest
from services.coordinator.messages import Collect, RestoreVersion


@dataclass(frozen=True, slots=True)
class _Made:
    """One version; a roll-back, like the run's beginning, has no aggregate.

    Args:
        seq: of the record that made it; -1 = the genesis.
    """

    digest: Digest
    seq: int
    aggregate: Digest | None


class Retention:
    """Folded from the log's records, in order.

    Args:
        version0: digest of the first version.
        snapshot_every: commits between snapshots.
        version_bytes: of a version's files.
    """

    def __init__(self, version0: Digest, snapshot_every: int, version_bytes: int) -> None:
        self._snapshot_every = snapshot_every
        self._version_bytes = version_bytes
        self._log_bytes: float = 0  # of all records and their aggregates, while all are kept
        self._bytes_to_snapshot: float = 0
        self._made = {0: _Made(version0, -1, None)}  # since the older snapshot
        self._head = 0
        self._snapshots = (0, 0)

    @property
    def start_seq(self) -> int:
        """The record that made the newest snapshot: there a newcomer begins, and has time."""
        return max(0, self._made[self._snapshots[1]].seq)

    @property
    def first_start_seq(self) -> int:
        """The record at which a newcomer begins that has version 0 whole.

        It is the first one as long as every step since is kept, and those to the newest snapshot
        are fewer bytes, with their records, than that is.
        """
        is_kept = self._snapshots[0] == 0
        is_cheap = self._bytes_to_snapshot < self._version_bytes
        return 0 if is_kept and is_cheap else self.start_seq

    def recorded(self, record: Record) -> bool:
        """A record is in the log; return whether it made a version."""
        if self._snapshots[0] == 0:
            self._log_bytes += _bytes_of(record)
        if record.commit is not None:
            self._add(record, record.commit.aggregate)
            if record.version % self._snapshot_every == 0:
                self._snapshot()
        elif record.rollback is not None:
            self._add(record, None)
            self._snapshot()
        else:
            return False
        return True

    def collect(self) -> Collect:
        """Return the order to delete all else."""
        versions = (made.digest for v, made in self._made.items() if self._is_whole(v))
        since = (made for v, made in self._made.items() if v > self._snapshots[0])
        return Collect(tuple(versions), tuple(made.aggregate for made in since if made.aggregate))

    def check(self, version: int) -> None:
        """Let a version pass that a roll-back still reaches.

        Raises:
            UnknownFileError: it is older, or not there yet; names what can be reached.
        """
        if version not in self._made:
            raise UnknownFileError(
                f"version {version} cannot return: versions {min(self._made)} to {self._head} are "
                "kept"
            )

    def digest_of(self, version: int) -> Digest:
        """Return the digest of a version that a roll-back still reaches.

        Raises:
            UnknownFileError: as `check`.
        """
        self.check(version)
        return self._made[version].digest

    def seq_of(self, version: int) -> int:
        """Return which record made it, or brought it back; 0 for version 0, which none did."""
        return max(0, self._made[version].seq)

    def restoring(self, version: int, read_commit: Callable[[int], Commit]) -> RestoreVersion:
        """Return the order to make a version's files complete again.

        Args:
            read_commit: returns the commit in the log's record of this seq.

        Raises:
            UnknownFileError: as `check`.
        """
        self.check(version)
        base = version
        while not self._is_whole(base):
            base -= 1
        seqs = (self._made[v].seq for v in range(base + 1, version + 1))
        commits = tuple(read_commit(seq) for seq in seqs)
        return RestoreVersion(version, self._made[version].digest, self._made[base].digest, commits)

    def _is_whole(self, version: int) -> bool:
        return version in (*self._snapshots, self._head - 1, self._head)

    def _add(self, record: Record, aggregate: Digest | None) -> None:
        self._head = record.version
        self._made[self._head] = _Made(record.digest, record.seq, aggregate)

    def _snapshot(self) -> None:
        self._snapshots = (self._snapshots[1], self._head)
        self._bytes_to_snapshot = self._log_bytes
        self._made = {v: m for v, m in self._made.items() if v >= self._snapshots[0]}


def _bytes_of(record: Record) -> float:
    """Return what whoever follows a record downloads; no step leads across a roll-back."""
    if record.rollback is not None:
        return math.inf
    aggregate_bytes = 0 if record.commit is None else record.commit.aggregate_bytes
    return len(canonical.encode(record)) + aggregate_bytes
