"""Whole runs in virtual time while things go wrong; docs/simulation.md says what is asserted.

`--histories N` plays N of them instead of the default; a report names the seed of each that breaks
something: `broken([seed])` plays it again.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from common.ids import SessionId
from coordinator.ledger import Ledger as Records
from services.coordinator.kept.fence import Fence
from services.coordinator.sessions.streams import Sessions
from services.versions.replica import Replica
from services.worker.local_work import LocalWork
from simulator.faults import (
    CutStream,
    Fault,
    KillCoordinator,
    KillWorker,
    Loss,
    PauseCoordinator,
    RollBack,
    faults_of,
)
from simulator.federation import SimulatedFederation
from simulator.many import broken, play
from simulator.runs import algorithm_of
from worker.rounds.conduct import Conduct
from worker.rounds.ports import Paced, Settle, Steps
from worker.training.ledger import WorkLedger

NUM_BLOCKS = 10
AT_ONCE = 10
NUM_TRIED = 20
ENOUGH = 2
"""Of the histories that are tried with a bug, at least so many must find it."""

Patch = AbstractContextManager[Any]


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    spawn = multiprocessing.get_context("spawn")
    side_by_side = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    num = max(1, (os.cpu_count() or 1) // side_by_side)
    with ProcessPoolExecutor(num, mp_context=spawn) as pool:
        yield pool


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("block", range(NUM_BLOCKS))
def test_no_promise_is_broken_whatever_goes_wrong(
    block: int, processes: ProcessPoolExecutor, request: pytest.FixtureRequest
) -> None:
    seeds = range(block, request.config.getoption("--histories"), NUM_BLOCKS)
    parts = [seeds[i : i + AT_ONCE] for i in range(0, len(seeds), AT_ONCE)]
    reports = [report for part in processes.map(broken, parts) for report in part]
    assert not reports, "\n\n".join(reports[:3])


async def keeps_its_anchor(self: LocalWork, settled: Settle) -> None:
    await right_settle(self, settled)
    self.anchor = self.replica.segments()


def ignores_pace(self: Conduct, event: Paced) -> Steps[None]:
    return right_paced(self, replace(event, void_offer=""))


def deletes_at_once(self: Fence, path: Path) -> int:
    path.unlink()
    return 0


def appends_last(self: Any, record: Any, changes: Any) -> Any:
    append, save, publish = right_append(self, record, changes)
    return (save, publish, append)


def forgets_free_work(self: Any, round_id: str, fate: str) -> None:
    right_release(self, round_id, "spent" if fate == "free" else fate)


def never_forgets(self: Sessions, session: SessionId) -> None:
    pass


right_settle = LocalWork.settle
right_paced = Conduct._paced
right_append = Records._append
right_release = WorkLedger.release


def anything(seed: int) -> tuple[Fault, ...]:
    return faults_of(seed)


def pauses(before: str, lasting_s: float) -> Callable[[int], tuple[Fault, ...]]:
    """The leader stops at one of the first such acts; another leads when it goes on."""
    return lambda seed: (PauseCoordinator(1 + seed % 4, lasting_s, before),)


def kills_coordinator(before: str) -> Callable[[int], tuple[Fault, ...]]:
    return lambda seed: (KillCoordinator(1 + seed % 4, Loss.PROCESS, before),)


def kills_worker(before: str, loss: Loss) -> Callable[[int], tuple[Fault, ...]]:
    return lambda seed: (KillWorker(seed % 3, 1 + seed % 4, loss, before),)


# How each bug is made, and the faults of a seed that may show it.
BUGS: dict[str, tuple[Callable[[], Patch], Callable[[int], tuple[Fault, ...]]]] = {
    "notifies before the log has it": (
        lambda: mock.patch.object(Records, "_append", appends_last),
        anything,
    ),
    "log folder is not synced": (
        lambda: mock.patch("services.coordinator.kept.log_store.sync_folder"),
        anything,
    ),
    "two leaders write one record": (
        lambda: mock.patch("services.coordinator.kept.log_store.LogStore._compare"),
        lambda seed: (
            *pauses("link 0", 4.5)(seed % 2),
            KillCoordinator(1, Loss.PROCESS, ("fsync log", "saved", "order TakeOver")[seed % 3]),
        ),
    ),
    "a deposed leader deletes data files": (
        lambda: mock.patch.object(Fence, "delete", deletes_at_once),
        pauses("order Collect", 5.0),
    ),
    "a new leader leaves the former one its trash": (
        lambda: mock.patch.object(Fence, "_take_away", return_value=0),
        pauses("order Collect", 5.0),
    ),
    "merges with the wrong anchor": (
        lambda: mock.patch.object(LocalWork, "settle", keeps_its_anchor),
        anything,
    ),
    "forgets its stage in a restart": (
        lambda: mock.patch("services.worker.state.StateFolder.load_stage", return_value=None),
        kills_worker("tell the trainer Merge", Loss.PROCESS),
    ),
    "worker's folders are not synced": (
        lambda: mock.patch("services.worker.state.sync_folder"),
        kills_worker("push", Loss.POWER),
    ),
    "worker's files are not synced": (
        lambda: mock.patch("services.worker.state.sync_file"),
        kills_worker("push", Loss.POWER),
    ),
    "worker's version is not synced before its save": (
        lambda: mock.patch.object(Replica, "sync"),
        lambda seed: (
            *kills_worker("unlink", Loss.POWER)(seed),
            *(RollBack(1.5, 1), RollBack(1.9, 3)),
        ),
    ),
    "loses free work": (
        lambda: mock.patch.object(WorkLedger, "release", forgets_free_work),
        kills_coordinator("order Seal"),
    ),
    "keeps uploads for ever": (
        lambda: mock.patch("services.coordinator.kept.spool.Spool.drop"),
        anything,
    ),
    "keeps sessions for ever": (
        lambda: mock.patch.object(Sessions, "discard", never_forgets),
        lambda seed: (CutStream(1.0, seed % 3),),
    ),
    "does not offer again what was lost": (
        lambda: mock.patch.object(Conduct, "_paced", ignores_pace),
        lambda seed: tuple(CutStream(0.5 + seed / 8, worker) for worker in range(3)),
    ),
}


OFFERS = "'does not offer again what was lost' breaks (vii), too"
FILES = "'worker's files are not synced' ends with a worker that cannot go on, too"
UPLOADS = "'keeps uploads for ever' breaks (vi), too"
LONG = {
    "a deposed leader deletes data files": OFFERS,
    "a new leader leaves the former one its trash": OFFERS,
    "worker's version is not synced before its save": FILES,
    "keeps sessions for ever": UPLOADS,
}
"""The slowest, and which of the others shows that the same check can fail."""


@pytest.mark.parametrize(
    "bug",
    [pytest.param(b, marks=pytest.mark.long(LONG[b])) if b in LONG else b for b in BUGS],
)
def test_a_seeded_bug_is_found(bug: str) -> None:
    patch, faults = BUGS[bug]
    with patch():
        found = (seed for seed in range(NUM_TRIED) if play(seed, faults(seed)))
        assert len(list(islice(found, ENOUGH))) == ENOUGH


@pytest.mark.parametrize("tier", ["tls", "masked"])
def test_the_same_seed_gives_the_same_history(tmp_path: Path, tier: str) -> None:
    told = []
    seed = next(s for s in range(23, 100) if algorithm_of(s).tier == tier)
    for name in ("a", "b"):
        federation = SimulatedFederation(seed, tmp_path / name, faults_of(seed))
        federation.run()
        told.append(federation.transcript)
    assert told[0] == told[1]
