"""Bugs on purpose in residuals, spent work and roll-backs: the simulation must find them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.coordinator.driver import Driver
from services.worker.local_work import LocalWork
from services.worker.state import Manifest, StateFolder
from simulator.faults import Fault, Isolate, KillWorker, Loss, RollBack, faults_of
from simulator.runs import algorithm_of
from tests.rig.rounds.seeded_bug import Bug, nothing, patched
from worker.rounds.ports import Settle
from worker.rounds.round import Fate
from worker.training.ledger import LedgerDocument, Work, WorkLedger
from worker.training.train import Trainer

NUM_TRIED = 12
right_settle = LocalWork.settle
right_commit_save = StateFolder.commit_save
right_roll_back = Trainer.roll_back
right_release = WorkLedger.release


async def loses_the_residual(self: LocalWork, settled: Settle) -> None:
    await right_settle(self, settled)
    if settled.fate is not Fate.CONTRIBUTED:
        self.residual = None


async def keeps_the_former_residual(self: LocalWork, settled: Settle) -> None:
    former = self.residual
    await right_settle(self, settled)
    self.residual = former


def keeps_any_residual(self: StateFolder, manifest: Manifest, residual: Path | None) -> None:
    if residual is None and self._current:
        residual = self.save.residual
    right_commit_save(self, manifest, residual)


def spends_and_keeps(self: WorkLedger, round_id: str, fate: str) -> None:
    right_release(self, round_id, "free" if fate == "spent" else fate)


def keeps_the_inner_state(self: Trainer, standing: Any, segments: Any) -> None:
    self.ledger = LedgerDocument(Work(), {}).ledger()
    self.begin(standing, segments)


def keeps_local_work(self: Trainer, standing: Any, segments: Any) -> None:
    ledger = self.ledger
    right_roll_back(self, standing, segments)
    self.ledger = ledger


async def answers_at_once(self: Driver, event: Any, ends: object) -> None:
    await self.feed(event)


def is_dense(seed: int) -> bool:
    return algorithm_of(seed).codec.kind == "dense"


def discards_old_work(seed: int) -> bool:
    return algorithm_of(seed).max_staleness < 1


def die_in_a_round(seed: int) -> tuple[Fault, ...]:
    """Workers start again, once they have contributed: a round goes on without one, or aborts."""
    return tuple(KillWorker(i, 120 + 8 * i + seed % 8, Loss.PROCESS) for i in range(3))


def cut_off(seed: int) -> tuple[Fault, ...]:
    """Versions come without a worker, whose work gets old."""
    return tuple(Isolate(1.0 + 0.8 * i + seed % 8 / 10, i, 1.5) for i in range(3))


def rolled_back(seed: int) -> tuple[Fault, ...]:
    return (RollBack(2.5 + seed % 10 / 10, 1),)


BUGS = {
    "what a dropped member had kept is lost": Bug(
        (patched(LocalWork, "settle", loses_the_residual),),
        die_in_a_round,
        r"\(iv\) what is committed and kept is off",
        is_dense,
    ),
    "what was left out before is sent again": Bug(
        (patched(LocalWork, "settle", keeps_the_former_residual),),
        nothing,
        r"\(iv\) what is committed and kept is off",
        is_dense,
    ),
    "what was kept outlives a roll-back": Bug(
        (patched(StateFolder, "commit_save", keeps_any_residual),),
        rolled_back,
        r"\(iv\) what is committed and kept is off",
        is_dense,
    ),
    "spent work is merged again": Bug(
        (patched(WorkLedger, "release", spends_and_keeps),),
        cut_off,
        r"\(iv\) w\d: .* != \d+ steps taken",
        discards_old_work,
    ),
    "local work outlives a roll-back": Bug(
        (patched(Trainer, "roll_back", keeps_local_work),),
        rolled_back,
        r"\(iv\) w\d: .* != \d+ steps taken",
    ),
    "the learner's own state outlives a roll-back": Bug(
        (patched(Trainer, "roll_back", keeps_the_inner_state),),
        rolled_back,
        r"\(iv\) w\d: .* steps taken since the newest roll-back",
    ),
    "an operator is answered before the log has it": Bug(
        (patched(Driver, "feed_until", answers_at_once),),
        rolled_back,
        r"\(ii\) tester1 is told of a roll-back that the log may lose",
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_seeded_bug_of_the_ledger_is_found(name: str) -> None:
    assert BUGS[name].is_found(NUM_TRIED)


def test_histories_play_every_codec_spend_work_and_ask_for_roll_backs() -> None:
    algorithms = [algorithm_of(seed) for seed in range(400)]
    assert {a.codec.bits for a in algorithms} == {2, 4, 8, 12, 16, 32}
    dense = [seed for seed in range(400) if is_dense(seed)]
    asked = {s for s in range(400) if any(isinstance(f, RollBack) for f in faults(s))}
    assert min(len(dense), len(asked), sum(map(discards_old_work, range(400)))) > 60
    assert len(asked & set(dense)) > 20
    assert all(replace(a.codec, residual_decay=1.0) == a.codec for a in algorithms)


def faults(seed: int) -> tuple[Fault, ...]:
    return faults_of(seed)
