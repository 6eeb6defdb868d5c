"""What must be true of a history once everybody has settled; docs/simulation.md has the numbers.

    i    the log is gapless, one outcome per round, nothing of an older epoch after a takeover
    iii  a clean replay of the log equals the head and every replica
    iv   no work is lost or counted twice: ledger.py
    vi   files, spool, memory and sessions are bounded

The second and the seventh are checked while the history runs (`federation.py`), and so is the
fifth, what members of masked rounds let out (`eavesdropper.py`).
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from common import canonical
from common.arrays import F32
from common.chain import advance, genesis_version
from common.documents import Genesis, Record
from common.ids import Digest
from services.coordinator.kept.files import CoordinatorFiles
from services.coordinator.kept.log_store import LogStore
from services.disk.data_store import DataStore
from simulator.coordinator import SNAPSHOT_EVERY, SimulatedCoordinator
from simulator.ledger import steps
from simulator.sums import Sums
from simulator.worker import SimulatedWorker

_MAX_TASKS: Final = 12


def violations(
    genesis: Genesis,
    files: CoordinatorFiles,
    leader: SimulatedCoordinator,
    workers: list[SimulatedWorker],
    aggregates: dict[Digest, bytes],
    left_behind: int,
) -> Iterator[str]:
    """Yield what is broken, as sentences.

    Args:
        files: what the coordinator keeps.
        aggregates: every aggregate file that a commit named, kept since.
        left_behind: rounds that may be in the spool although no round is open.
    """
    log = LogStore(files.log, canonical.digest(genesis))
    log.load()  # raises where a record is missing or does not follow
    records = [canonical.decode(content, Record) for content in log.records()]
    yield from _log(records)
    data = DataStore(files.data)
    sums = Sums(genesis, workers)
    yield from _replay(genesis, records, data, aggregates, sums)
    yield from sums.violations(records)
    for worker in workers:
        if worker.working.replica.position.digest != records[-1].digest:
            yield f"(iii) {worker.name} does not stand on the head"
        if worker.working.replica.position.version != records[-1].version:
            yield f"(iii) {worker.name} takes version {records[-1].version} for another"
        yield from steps(worker, records, sums.local(worker))
        yield from _worker_files(worker)
    yield from _coordinator_files(files, leader, len(workers), left_behind)


def _log(records: list[Record]) -> Iterator[str]:
    epoch, ended = 0, set[str]()
    for record in records:
        if record.takeover is not None:
            epoch = record.seq
        if record.epoch != epoch:
            yield f"(i) record {record.seq} is of epoch {record.epoch} in epoch {epoch}"
        outcome = record.abort if record.commit is None else record.commit.plan
        if outcome is not None and outcome.round in ended:
            yield f"(i) round {outcome.round} ends twice, again in record {record.seq}"
        if outcome is not None:
            ended.add(outcome.round)


def _replay(
    genesis: Genesis,
    records: list[Record],
    data: DataStore,
    aggregates: dict[Digest, bytes],
    sums: Sums,
) -> Iterator[str]:
    blobs: dict[Digest, bytes] = {}

    def write(content: bytes) -> Digest:
        digest = canonical.digest_of(content)
        blobs[digest] = content
        return digest

    version = genesis_version(genesis.schema, genesis.algorithm, genesis.seed, zeros, write)
    versions = [version]
    sums.stands_on(version, blobs.__getitem__)
    for record in records:
        if record.rollback is not None:
            version = versions[record.rollback.version]
            versions.append(version)
            sums.rolled_back()
            if canonical.digest(version) != record.digest:
                yield f"(iii) version {record.version} is not version {record.rollback.version}"
        if record.commit is None:
            continue
        content = aggregates.get(record.commit.aggregate)
        if content is None:
            yield f"(iii) the aggregate of version {record.version} was never there"
            return

        def read(offset: int, length: int, content: bytes = content) -> bytes:
            return content[offset : offset + length]

        yield from sums.commit(version, record.commit, content, blobs.__getitem__)
        version = advance(genesis, version, record.commit, read, blobs.__getitem__, write)
        versions.append(version)
        sums.stands_on(version, blobs.__getitem__)
        if canonical.digest(version) != record.digest:
            yield f"(iii) replaying gives another version {record.version}"
    if canonical.digest(version) != records[-1].digest:
        yield "(iii) the log's head is not its newest commit"
    if damaged := data.damaged((records[-1].digest, *version.blobs())):
        yield f"(iii) the coordinator's head lacks {len(damaged)} sound files"


def zeros(start: int, stop: int) -> F32:
    """Return the initial parameters, float32[stop - start]."""
    return np.zeros(stop - start, np.float32)


def _worker_files(worker: SimulatedWorker) -> Iterator[str]:
    root = worker.working.state.data.parent
    version = worker.working.replica.version()
    expected = {worker.working.replica.position.digest, *version.blobs()}
    found = {p.name for p in worker.working.state.data.iterdir()}
    if not expected <= found or len(found) > len(expected) + 2:
        yield f"(vi) {worker.name} keeps {len(found)} files of versions, needs {len(expected)}"
    names = sorted(p.name for p in root.iterdir())
    if len(names) > 3:
        yield f"(vi) {worker.name} keeps {', '.join(names)}"
    if len(worker.host.tasks) > _MAX_TASKS:
        yield f"(vi) {worker.name} runs {len(worker.host.tasks)} tasks"


def _coordinator_files(
    files: CoordinatorFiles, leader: SimulatedCoordinator, num_workers: int, left_behind: int
) -> Iterator[str]:
    spooled = sorted(p.name for p in files.spool.iterdir())
    if len(spooled) > left_behind:
        yield f"(vi) the spool keeps {', '.join(spooled)}"
    kept_versions, per_version, num_aggregates = 4, 4, 2 * SNAPSHOT_EVERY
    num_files = sum(1 for _ in files.data.iterdir())
    if num_files > kept_versions * per_version + num_aggregates:
        yield f"(vi) the coordinator keeps {num_files} data files"
    if drafts := [p.name for p in files.log.iterdir() if p.name.startswith(".")]:
        yield f"(vi) the log keeps {len(drafts)} drafts"
    if len(leader.sessions) != num_workers:
        yield f"(vi) {len(leader.sessions)} sessions are open, of {num_workers} workers"
    if len(leader.host.tasks) > _MAX_TASKS + 6 * num_workers:
        yield f"(vi) {leader.host.name} runs {len(leader.host.tasks)} tasks"
