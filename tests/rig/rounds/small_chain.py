"""A coordinator in memory: a small chain, its log, and the files that it still keeps."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from common import canonical
from common.arrays import F32
from common.documents import Commit, Origin, Record, Rollback, RollbackOrder, Version
from common.errors import UnknownFileError
from common.ids import Digest, WorkerId
from common.log_head import LogHead
from common.progress import next_counters, progress
from services.disk.data_store import DataStore
from services.versions.replica import Replica
from services.worker.working import Fetch
from tests.rig.rounds.small_run import Run, random_vector
from worker.rounds.position import genesis_position


@dataclass
class Coordinator:
    """See the module docstring."""

    run: Run = field(default_factory=Run)
    records: list[Record] = field(default_factory=list)
    fetched: list[Digest] = field(default_factory=list)
    gone: set[Digest] = field(default_factory=set)
    number: int = 0

    def __post_init__(self) -> None:
        self.run.blobs.write(canonical.encode(self.run.version))

    def step(self, thetas: Mapping[WorkerId, F32] | None = None) -> Record:
        """Commit one version, of which the workers in `thetas` are the survivors."""
        seed = len(self.records)
        if thetas is None:
            theta = self.run.theta() - random_vector(self.run.schema, 100 + seed, 0.01)
            thetas = dict.fromkeys(self.run.workers, theta)
        commit, content = self.run.commit(thetas, seed=seed)
        return self.commit(replace(commit, plan=replace(commit.plan, version=self.number)), content)

    def commit(self, commit: Commit, content: bytes) -> Record:
        """Take a step, and append it."""
        self.run.blobs.write(content)
        self.run.blobs.write(canonical.encode(self.run.advance(commit, content)))
        self.number += 1
        return self.append(commit=commit)

    def roll_back(
        self,
        version: int,
        state: Version,
        order: RollbackOrder | None = None,
        origin: Origin | None = None,
    ) -> Record:
        """Make `state`, that of an earlier version, the head again."""
        self.run.version = state
        self.number += 1
        return self.append(rollback=Rollback(version, state.commits, "ann", order, origin))

    def append(self, **body: Any) -> Record:
        """Append a record to the true log."""
        record = self.after(self.records, *self.stand, **body)
        self.records.append(record)
        return record

    @property
    def stand(self) -> tuple[int, Digest]:
        """The head's number and digest."""
        return self.number, canonical.digest(self.run.version)

    def after(self, log: Sequence[Record], version: int, digest: Digest, **body: Any) -> Record:
        """Return the next record of a log, its counters as they follow."""
        genesis = self.run.genesis
        before = LogHead.at(log[-1]) if log else LogHead.of(genesis)
        counters, made = before.counters, before.progress
        if (commit := body.get("commit")) is not None:
            counters = next_counters(genesis, counters, commit, counters.elapsed_s)
            made = progress(genesis, version, counters.tokens, commit.plan.hours)
        seq = len(log)
        rolled_back = before.rolled_back if body.get("rollback") is None else seq
        told = (seq, before.previous, 0, 0, version, digest, made, counters, rolled_back)
        return Record(*told, **body)

    def replica(
        self, folder: Path, gone: Container[Digest] | None = None
    ) -> tuple[Replica, DataStore]:
        """Return a replica that fetches from here.

        Args:
            gone: what it cannot have; None = what nobody can.
        """
        store, fetch = DataStore(folder), self.fetch_into(gone)
        start = genesis_position(self.run.genesis)
        fetched = Replica(
            self.run.genesis, store, lambda d, kind, most: fetch(d, kind, store, most), start
        )
        return fetched, store

    def fetch_into(self, gone: Container[Digest] | None = None) -> Fetch:
        """Return what fetches from here into a store; `gone` as in `replica`."""
        gone = self.gone if gone is None else gone

        def fetch(digest: Digest, kind: str, store: DataStore, most_bytes: int) -> None:
            if digest in gone or digest not in self.run.blobs.files:
                raise UnknownFileError(kind)
            assert len(self.run.blobs.files[digest]) <= most_bytes
            self.fetched.append(digest)
            store.write(self.run.blobs.files[digest])

        return fetch
