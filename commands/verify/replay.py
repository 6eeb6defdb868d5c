"""Replays a log's sums from the files that are kept: does each step give its record's version?

    start: the oldest version kept whole                  the sums before it were let go
      |--commit--> advance(parent, sum)   --roll-back--> the version that returns, kept whole
      '--> the head, whose digest names every bit of it

The arithmetic is `common/chain.py`'s. Nothing is written where the run's files lie: what a step
makes goes to a store of its own, which holds a version or two.
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass

from commands.verify.kept_run import Files
from common import canonical
from common.chain import advance
from common.documents import Commit, Genesis, Record
from common.errors import (
    BadCommitError,
    BadNumbersError,
    DamagedDataError,
    DivergedError,
)
from common.ids import Digest
from services.disk.data_store import DataStore


@dataclass(frozen=True, slots=True)
class Begun:
    """A version, and the record that made it; -1 = the genesis."""

    version: int
    seq: int
    digest: Digest


class KeptSums:
    """Finds, record by record, where a replay can begin, and what of kept versions is missing.

    A coordinator keeps the older of its last two snapshots whole, and every sum since
    (`services/coordinator/kept/retention.py`). So whatever lacks behind `start` should be there.

    Args:
        files: of the run's own store alone.
    """

    def __init__(self, genesis: Genesis, files: Files) -> None:
        self._files = files
        self._has_sums = False
        self._head = Begun(0, -1, genesis.version0)
        self._oldest: Begun | None = None
        self.missing: list[str] = []
        """Paths of files that a version's document names, and that are not there."""
        self._look()

    @property
    def start(self) -> Begun:
        """The oldest version that is whole; where none is, that before the oldest sum."""
        return self._oldest or self._head

    def recorded(self, record: Record) -> None:
        """A record is in the log."""
        commit, rollback = record.commit, record.rollback
        if commit is None and rollback is None:
            return
        if commit is not None and not self._has_sums:
            self._has_sums = self._files.holder(commit.aggregate).has(commit.aggregate)
            if self._has_sums:
                self._oldest = self.start  # what it lacks, the replay names
        self._head = Begun(record.version, record.seq, record.digest)
        if self._oldest and self._oldest.digest == record.digest and not self._has_sums:
            self._oldest = None  # it is whole only since it returned
        self._look()

    def _look(self) -> None:
        with suppress(DamagedDataError):  # found when all files are checked
            lacking = [*self._files.missing(self._head.digest)]
            if not lacking:
                self._oldest = self._oldest or self._head
            elif self._files.holder(self._head.digest).has(self._head.digest):
                self.missing += lacking


class Replay:
    """See the module docstring.

    Args:
        work: gets what is computed, and keeps the newest version alone.
        pool: works on a version's segments.
    """

    def __init__(self, genesis: Genesis, files: Files, work: DataStore, pool: Executor) -> None:
        self._genesis, self._files, self._work, self._pool = genesis, files, work, pool
        self.at: Digest | None = None
        self.num_steps = 0
        self.is_false = False

    def begin(self, begun: Begun) -> Iterator[str]:
        """Stand on a version that is kept whole; yield what of it is missing or damaged."""
        yield from self._stand(begun.version, begun.digest)

    def follow(self, record: Record) -> Iterator[str]:
        """Take what a record did to the head; yield what is missing, damaged or false."""
        commit = record.commit
        if record.rollback is not None:
            yield from self._stand(record.version, record.digest)
        elif commit is not None and self.at is not None:
            base, self.at = self.at, None
            try:
                self._step(base, record, commit)
                self.at = record.digest
                self.num_steps += 1
            except DamagedDataError as e:
                yield f"version {record.version} (record {record.seq}) cannot be replayed: {e}"
            except (BadCommitError, BadNumbersError, DivergedError) as e:
                self.is_false = True
                yield f"record {record.seq} is false: {e}"
        elif commit is not None:
            sums = self._files.holder(commit.aggregate)
            if not sums.has(commit.aggregate):
                yield f"{sums.path(commit.aggregate)} is missing"
            with suppress(DamagedDataError):
                if not any(self._files.missing(record.digest)):
                    self.at = record.digest  # what lies between is said to be missing

    def _stand(self, version: int, digest: Digest) -> Iterator[str]:
        self.at = None
        try:
            for path in self._files.missing(digest):
                yield f"version {version}: {path} is missing"
                return
            self.at = digest
        except DamagedDataError as e:
            yield f"version {version}: {e}"

    def _step(self, base: Digest, record: Record, commit: Commit) -> None:
        aggregate = commit.aggregate
        sums = self._files.holder(aggregate)
        if (size := sums.size(aggregate)) != commit.aggregate_bytes:
            raise DamagedDataError(
                f"{sums.path(aggregate)} has {size} bytes, its record says {commit.aggregate_bytes}"
            )
        if sums.damaged((aggregate,)):
            raise DamagedDataError(f"{sums.path(aggregate)} is damaged: its SHA-256 is another")

        def read_sum(offset: int, length: int) -> bytes:
            return sums.read_slice(aggregate, offset, length)

        version = self._files.version(base)
        read, write = self._files.read, self._work.write
        after = advance(self._genesis, version, commit, read_sum, read, write, self._pool)
        if (made := canonical.digest(after)) != record.digest:
            raise DivergedError(
                f"its sum makes another version {record.version} here, {made[:16]}..., than it "
                f"says, {record.digest[:16]}..."
            )
        self._work.write(canonical.encode(after))
        self._work.retain({made, *after.blobs()})
