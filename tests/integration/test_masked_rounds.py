"""Masked rounds through a real coordinator: workers fall silent at every message.

The workers are played; gRPC, mTLS, the spool, the unmasking and the log are real. After each round
the published sum is compared with what its survivors have sent, and at the end the log with what
each of them takes for the fate of its work.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import pytest

from common.codec.packing import unpack
from common.documents import Commit, Plan, Record
from common.ids import RoundId
from protos.v1 import session_pb2
from services.data_store import DataStore
from services.local.layout import COORDINATOR
from tests.integration.conftest import TIMINGS, LoneCoordinator, lay_out
from tests.light_worker import credentials
from tests.masked_light_worker import MaskedLightWorker
from tests.masked_round import Loss
from worker.round import Fate, Work

NAMES = ("aws", "azure", "gcp", "hetzner", "onprem")
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
            self.workers[name].upload(plan, all_of_it=lost.get(name) is not Loss.LAST_SHARD)
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
                self.lose(name)
        return tuple(n for n in names if lost.get(n, Loss.NEVER) > loss)

    def failed(self, lost: Mapping[str, Loss]) -> Record:
        """End a round that is below its threshold: whoever has revealed nothing abandons it.

        The lost ones start again, as many as are needed.
        """
        assert self.plan is not None
        holding = [n for n in self.names if self.workers[n].half.work is Work.EXPOSED]
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
        return record

    def check(self, commit: Commit) -> None:
        """Compare a commit with what its survivors sent."""
        store = DataStore(self.coordinator.layout.state(COORDINATOR) / "data")
        content = store.read(commit.aggregate, verify=True)
        some = self.workers[commit.survivors[0]]
        layout = some.layout(commit.plan)
        sent = [self.workers[w].values[RoundId(commit.plan.round)] for w in commit.survivors]
        np.testing.assert_array_equal(
            unpack(content[: layout.data_bytes], layout.bits), np.sum(sent, axis=0)
        )
        assert commit.lanes.loss_2_20 == len(sent) * 2**20


@pytest.fixture
def cohort(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator:
    names = NAMES[: request.param]
    made = lay_out(tmp_path_factory.mktemp("masked") / "run", names, algorithm=MASKED)
    made.edit(COORDINATOR, timings={**TIMINGS, "key_timeout_s": 10.0})
    made.start()
    with ExitStack() as stack:
        yield Cohort(made, names, stack)
    made.stop()


def losses(*names: str, loss: Loss) -> dict[str, Loss]:
    return dict.fromkeys(names, loss)


PHASES = (Loss.ANSWER, Loss.UPLOAD, Loss.LAST_SHARD, Loss.SIGNATURE, Loss.SHARES)


@pytest.mark.parametrize("cohort", [5], indirect=True, ids="of {}".format)
def test_of_five_one_or_two_may_be_lost_at_any_message_and_the_sum_is_exact(
    cohort: Cohort,
) -> None:
    rounds = [
        {},
        *(losses("azure", loss=loss) for loss in PHASES),
        *(losses("aws", "onprem", loss=loss) for loss in PHASES),
        {"gcp": Loss.UPLOAD, "aws": Loss.SHARES},
    ]
    contributions = dict.fromkeys(NAMES, 0)
    for number, lost in enumerate(rounds, start=1):
        record = cohort.play(lost)
        assert record.commit is not None
        assert record.version == number
        gone = {n for n, loss in lost.items() if loss <= Loss.LAST_SHARD}
        assert set(record.commit.survivors) == set(NAMES) - gone
        cohort.check(record.commit)
        for name in record.commit.survivors:
            contributions[name] += 1
    check_ledger(cohort, contributions)


@pytest.mark.parametrize("cohort", [5], indirect=True, ids="of {}".format)
def test_of_five_three_losses_abort_and_the_next_round_commits(cohort: Cohort) -> None:
    contributions = dict.fromkeys(NAMES, 0)
    for loss in (Loss.UPLOAD, Loss.SIGNATURE, Loss.SHARES):
        record = cohort.play(losses("aws", "gcp", "onprem", loss=loss))
        assert record.abort is not None
        assert record.abort.reason == "below_threshold"
        assert len(record.abort.abandons or {}) >= 3  # K - t + 1

        record = cohort.play({})
        assert record.commit is not None
        assert record.commit.survivors == NAMES
        cohort.check(record.commit)
        contributions = {name: n + 1 for name, n in contributions.items()}
    check_ledger(cohort, contributions)


@pytest.mark.parametrize("cohort", [4], indirect=True, ids="of {}".format)
def test_of_four_one_may_be_lost(cohort: Cohort) -> None:
    contributions = dict.fromkeys(cohort.names, 0)
    for loss in PHASES:
        record = cohort.play(losses("hetzner", loss=loss))
        assert record.commit is not None
        cohort.check(record.commit)
        for name in record.commit.survivors:
            contributions[name] += 1
    check_ledger(cohort, contributions)


@pytest.mark.parametrize("cohort", [3], indirect=True, ids="of {}".format)
def test_of_three_a_loss_aborts_and_the_returning_worker_s_round_commits(cohort: Cohort) -> None:
    for loss in (Loss.UPLOAD, Loss.LAST_SHARD):
        record = cohort.play(losses("azure", loss=loss))
        assert record.abort is not None
        assert record.abort.reason == "below_threshold"
    record = cohort.play({})
    assert record.commit is not None
    cohort.check(record.commit)
    check_ledger(cohort, dict.fromkeys(cohort.names, 1))


def check_ledger(cohort: Cohort, contributions: Mapping[str, int]) -> None:
    """No work is in two sums, and log and workers agree on which is in one."""
    assert cohort.head is not None
    in_log = {n: w.contributions for n, w in cohort.head.counters.workers.items()}
    assert in_log == contributions
    for name, worker in cohort.workers.items():
        fates = list(worker.fates.values())
        assert fates.count(Fate.CONTRIBUTED) == contributions[name]
        assert set(fates) <= {Fate.CONTRIBUTED, Fate.FREE}  # enough signed, or abandoned
