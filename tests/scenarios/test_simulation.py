"""Whole runs in virtual time while things go wrong; docs/simulation.md says what is asserted.

`--histories N` plays N of them instead of the default; a report names the seed of each that breaks
something: `broken([seed])` plays it again.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from common.ids import SessionId
from coordinator.ledger import Ledger as Records
from services.coordinator.sessions import Sessions
from services.simulator.faults import faults_of
from services.simulator.federation import Federation, num_workers
from services.simulator.many import broken, play
from services.simulator.memory_store import MemoryStore
from services.worker.agent import Agent
from worker.ledger import Ledger

NUM_BLOCKS = 10
AT_ONCE = 10

Patch = AbstractContextManager[Any]


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
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


async def keeps_its_anchor(self: Agent, round_id: str, fate: object) -> None:
    await right_settle(self, round_id, fate)
    self._anchor = self._replica.leaves()


async def ignores_pace(self: Agent, pace: Any) -> None:
    pace.void_offer = ""
    await right_paced(self, pace)


async def applies_without_a_fence(self: MemoryStore, changes: Any) -> None:
    if changes:
        await right_apply(self, changes)


def appends_last(self: Any, record: Any, changes: Any) -> Any:
    append, save, publish = right_append(self, record, changes)
    return (save, publish, append)


def forgets_free_work(self: Any, round_id: str, fate: str) -> None:
    right_release(self, round_id, "spent" if fate == "free" else fate)


def never_forgets(self: Sessions, session: SessionId) -> None:
    pass


right_settle = Agent._settle
right_paced = Agent.paced
right_apply = MemoryStore.apply
right_append = Records._append
right_release = Ledger.release

BUGS: dict[str, tuple[Callable[[], Patch], range]] = {
    "notifies before the log has it": (
        lambda: mock.patch.object(Records, "_append", appends_last),
        range(60),
    ),
    "log folder is not synced": (
        lambda: mock.patch("services.coordinator.log_store.sync_folder"),
        range(6),
    ),
    "a deposed leader collects garbage": (
        lambda: mock.patch.object(MemoryStore, "apply", applies_without_a_fence),
        range(698, 728, 6),
    ),
    "merges with the wrong anchor": (
        lambda: mock.patch.object(Agent, "_settle", keeps_its_anchor),
        range(6),
    ),
    "forgets its stage in a restart": (
        lambda: mock.patch("services.worker.state.StateFolder.load_stage", return_value=None),
        range(397, 415, 6),
    ),
    "worker's folders are not synced": (
        lambda: mock.patch("services.worker.state.sync_folder"),
        range(337, 367, 6),
    ),
    "worker's files are not synced": (
        lambda: mock.patch("services.worker.state.sync_file"),
        range(331, 349, 6),
    ),
    "loses free work": (lambda: mock.patch.object(Ledger, "release", forgets_free_work), range(60)),
    "keeps uploads for ever": (
        lambda: mock.patch("services.coordinator.spool.Spool.drop"),
        range(6),
    ),
    "keeps sessions for ever": (
        lambda: mock.patch.object(Sessions, "discard", never_forgets),
        range(60),
    ),
    "does not offer again what was lost": (
        lambda: mock.patch.object(Agent, "paced", ignores_pace),
        range(200),
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_seeded_bug_is_found(bug: str) -> None:
    patch, seeds = BUGS[bug]
    with patch():
        assert any(play(seed) for seed in seeds)


def test_the_same_seed_gives_the_same_history(tmp_path: Path) -> None:
    told = []
    for name in ("a", "b"):
        federation = Federation(23, tmp_path / name, faults_of(23, num_workers(23)))
        federation.run()
        told.append(federation.transcript)
    assert told[0] == told[1]
