"""All workers of a run, played over several rounds of a real coordinator in the masked tier."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from commands.demo.layout import COORDINATOR
from common.documents import Commit, Plan, Record
from common.ids import RoundId
from common.packing import unpack
from common.thresholds import abandons_needed
from protos.v1 import session_pb2
from services.disk.data_store import DataStore
from tests.integration.conftest import TIMINGS, LoneCoordinator, lay_out
from tests.rig.rounds.masked_round import Loss
from tests.rig.workers.light_worker import credentials
from tests.rig.workers.masked_light_worker import MaskedLightWorker
from worker.rounds.round import WorkState

MASKED = {"tier": "masked", "min_cohort": 3, "quorum": 1.0}


@dataclass
class Cohort:
    """All workers of a run, over several rounds."""

    coordinator: LoneCoordinator
    names: tuple[str, ...]
    stack: ExitStack
    workers: dict[str, MaskedLightWorker] = field(default_factory=dict)
    head: Record | None = None
    boots: int = 0
    next_seq: int = 0
    plan: Plan | None = None

    def connect(self, name: str) -> MaskedLightWorker:
        """Let a worker's process start, or start again; what it holds on disk stays."""
        self.boots += 1
        former = self.workers.get(name)
        certs = self.coordinator.folder / "certs"
        worker = self.stack.enter_context(
            MaskedLightWorker(
                name,
                self.coordinator.genesis,
                self.coordinator.layout.control,
                self.coordinator.layout.bulk,
                credentials(certs, name),
                boot=f"{self.boots:016x}",
                certs=certs,
            )
        )
        if former is not None:
            worker.half, worker.values, worker.fates = former.half, former.values, former.fates
            worker.loss_2_20 = former.loss_2_20
        version = 0 if self.head is None else self.head.version
        worker.join(next_seq=self.next_seq, version=version)
        self.workers[name] = worker
        return worker

    def lose(self, name: str) -> None:
        """A worker is gone, and the coordinator hears of it at once."""
        self.workers[name].send(leave=session_pb2.Leave(reason="test"))

    def play(self, lost: Mapping[str, Loss]) -> Record:
        """Play a round up to its record; whoever is lost leaves before its message."""
        for name in self.names:
            if name not in self.workers:
                self.connect(name)
        version, digest = (
            (0, "") if self.head is None else (self.head.version, str(self.head.digest))
        )
        for worker in self.workers.values():
            worker.offer(version, digest)
        plans = [worker.receive_plan() for worker in self.workers.values()]
        self.plan = plan = plans[0]
        assert plans == [plan] * len(self.names)
        there = self.step(Loss.ANSWER, self.names, lost)
        for name in there:
            self.workers[name].answer(plan)
        for name in there:
            self.workers[name].be_named(plan)
        uploading = self.step(Loss.UPLOAD, there, lost)
        for name in uploading:
            self.workers[name].upload_made_up(plan, all_of_it=lost.get(name) is not Loss.LAST_SHARD)
        survivors = self.step(Loss.LAST_SHARD, uploading, lost)
        if len(survivors) >= plan.threshold:
            signing = self.step(Loss.SIGNATURE, survivors, lost)
            signed = [self.workers[name].sign_list() for name in signing]
            assert signed == [len(survivors) < len(there)] * len(signing)
            revealing = self.step(Loss.SHARES, signing, lost)
            if len(signing) >= plan.threshold:
                for name in revealing:
                    self.workers[name].reveal(plan, signed=signed[0])
            if len(revealing) >= plan.threshold:
                return self.concluded("commit", revealing, lost)
        return self.failed(lost)

    def step(self, loss: Loss, names: tuple[str, ...], lost: Mapping[str, Loss]) -> tuple[str, ...]:
        for name in names:
            if lost.get(name) is loss:
                if loss is Loss.SIGNATURE:  # the word of its upload has come, before it leaves
                    self.workers[name].receive("survivors")
                self.lose(name)
        return tuple(n for n in names if lost.get(n, Loss.NEVER) > loss)

    def failed(self, lost: Mapping[str, Loss]) -> Record:
        """End a round that is below its threshold: whoever has revealed nothing abandons it.

        The lost ones start again, as many as are needed.
        """
        assert self.plan is not None
        holding = [n for n in self.names if self.workers[n].half.work is WorkState.EXPOSED]
        silent = [n for n in holding if not self.revealed(n)]
        needed = abandons_needed(len(self.names), 0, self.plan.threshold)
        for name in sorted(silent, key=lambda n: n in lost)[:needed]:
            worker = self.connect(name) if name in lost else self.workers[name]
            worker.abandon(self.plan)
        return self.concluded("abort", tuple(n for n in self.names if n not in lost), lost)

    def revealed(self, name: str) -> bool:
        stage = self.workers[name].half.stage
        return stage is not None and stage.revealed

    def concluded(self, kind: str, there: tuple[str, ...], lost: Mapping[str, Loss]) -> Record:
        """Take the round's record; the lost ones start again and read it in the log."""
        record = self.workers[there[0]].receive_record(kind)
        for name in there[1:]:
            assert self.workers[name].receive_record(kind) == record
        self.head, self.next_seq = record, record.seq + 1
        for name in self.names:
            self.workers[name].resolve(record)
            if name in lost:
                self.connect(name)
        for name in () if record.commit is None else record.commit.survivors:
            self.workers[name].vouch(record)
        return record

    def check(self, commit: Commit) -> None:
        """Compare a commit with what its survivors sent."""
        store = DataStore(self.coordinator.layout.coordinator.data)
        content = store.read(commit.aggregate, verify=True)
        some = self.workers[commit.survivors[0]]
        layout = some.layout(commit.plan)
        sent = [self.workers[w].values[RoundId(commit.plan.round)] for w in commit.survivors]
        np.testing.assert_array_equal(
            unpack(content[: layout.data_bytes], layout.bits), np.sum(sent, axis=0)
        )
        losses = (self.workers[w].loss_2_20 for w in commit.survivors)
        assert commit.side_values.loss_2_20 == sum(losses)


@contextmanager
def masked_cohort(folder: Path, names: tuple[str, ...], **settings: Any) -> Iterator[Cohort]:
    """Start a coordinator; `settings` are its own."""
    made = lay_out(folder, names, algorithm=MASKED)
    made.edit(COORDINATOR, timings={**TIMINGS, "key_timeout_s": 10.0}, **settings)
    made.start()
    try:
        with ExitStack() as stack:
            yield Cohort(made, names, stack)
    finally:
        made.stop()
