"""A coordinator in memory: a small chain, its log, and the files that it still keeps."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from common import canonical
from common.arrays import F32
from common.documents import (
    Abort,
    Commit,
    Control,
    Record,
    Rollback,
    RollbackOrder,
    Takeover,
    Version,
)
from common.errors import UnknownFileError
from common.ids import Digest, WorkerId
from common.log_head import LogHead
from common.progress import next_counters, progress
from services.disk.data_store import DataStore
from services.versions.replica import Replica, genesis_position
from tests.rig.rounds.small_run import Run, random_vector


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
        commit = replace(commit, plan=replace(commit.plan, version=self.number))
        self.run.blobs.write(content)
        self.run.blobs.write(canonical.encode(self.run.advance(commit, content)))
        self.number += 1
        return self.append(commit=commit)

    def roll_back(self, version: int, state: Version, order: RollbackOrder | None = None) -> Record:
        """Make `state`, that of an earlier version, the head again."""
        self.run.version = state
        self.number += 1
        return self.append(rollback=Rollback(version, state.commits, "ann", order))

    def append(self, **body: Commit | Abort | Control | Rollback | Takeover) -> Record:
        genesis = self.run.genesis
        before = LogHead.at(self.records[-1]) if self.records else LogHead.of(genesis)
        counters, made = before.counters, before.progress
        rolled_back = before.rolled_back if body.get("rollback") is None else len(self.records)
        if isinstance(commit := body.get("commit"), Commit):
            counters = next_counters(genesis, counters, commit, counters.elapsed_s)
            made = progress(genesis, self.number, counters.tokens, commit.plan.hours)
        record = Record(
            seq=len(self.records),
            previous=before.previous,
            epoch=0,
            time_s=0,
            version=self.number,
            digest=canonical.digest(self.run.version),
            progress=made,
            counters=counters,
            rolled_back=rolled_back,
            **body,  # type: ignore[arg-type]
        )
        self.records.append(record)
        return record

    def replica(self, folder: Path) -> tuple[Replica, DataStore]:
        store = DataStore(folder)

        def fetch(digest: Digest, kind: str, most_bytes: int) -> None:
            if digest in self.gone or digest not in self.run.blobs.files:
                raise UnknownFileError(kind)
            assert len(self.run.blobs.files[digest]) <= most_bytes
            self.fetched.append(digest)
            store.write(self.run.blobs.files[digest])

        return Replica(self.run.genesis, store, fetch, genesis_position(self.run.genesis)), store
