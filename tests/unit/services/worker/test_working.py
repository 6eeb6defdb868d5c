"""A worker with a trainer that only remembers: what it is told, and what is on disk after."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from common import canonical
from common.arrays import F32
from common.documents import Abort, Answer, Numbers, Offer, Plan, Record
from common.errors import DivergedError
from common.ids import RoundId, WorkerId
from protos.v1 import session_pb2
from services.worker.messages import (
    Begin,
    Close,
    Closed,
    Merge,
    Merged,
    Progress,
    Release,
    Return,
    Saved,
    SaveTo,
)
from services.worker.state import SAVED
from tests.rig.rounds.small_chain import Coordinator
from tests.rig.rounds.small_run import NUMBERS
from tests.rig.workers.local_worker import LocalWorker
from worker.rounds.round import WorkState
from worker.rounds.tier import Tier
from worker.rounds.tls_tier import TlsTier

ME = WorkerId("aws")
RESOLVE_TIMEOUT_S = 100.0
PROGRESS = Progress(30, 3000, NUMBERS, 100.0, 5.0, 1.0, 0.0, 2.0, 10**6)


@dataclass
class FakeTrainer:
    theta: F32
    progress: Progress | None = PROGRESS
    numbers: Numbers = NUMBERS
    finite: bool = True
    told: list[Any] = field(default_factory=list)

    async def tell(self, message: object) -> None:
        self.told.append(message)

    async def close(self, question: Close) -> Closed:
        (Path(question.folder) / "theta.f32").write_bytes(self.theta.astype("<f4").tobytes())
        return Closed(question.round, self.numbers, 2**20, self.finite)

    async def merge(self, question: Merge) -> Merged:
        assert all(map(os.path.isfile, (*question.head, *question.anchor)))  # it reads them
        self.told.append(question)
        return Merged(question.clock.version)

    async def roll_back(self, question: Return) -> Merged:
        self.told.append(question)
        return Merged(question.clock.version)

    async def save(self, question: SaveTo) -> Saved:
        for name in SAVED:
            (Path(question.folder) / name).write_bytes(self.theta.astype("<f4").tobytes())
        return Saved(question.folder, 0)

    def last(self, kind: type[Any]) -> Any:
        return [m for m in self.told if isinstance(m, kind)][-1]


@dataclass
class FakePush:
    pushed: list[RoundId] = field(default_factory=list)

    async def __call__(
        self,
        round_id: RoundId,
        num_shards: int,
        read_shard: Callable[[int], bytes],
        *,
        give_up: Event,
    ) -> None:
        assert all(read_shard(i) for i in range(num_shards))
        self.pushed.append(round_id)


class Cloud(LocalWorker):
    """One worker over a folder; made again, it is what starts after a kill."""

    def __init__(self, coordinator: Coordinator, folder: Path, tier: Tier | None = None) -> None:
        self.coordinator = coordinator
        self.push = FakePush()
        self.now_s = 0.0
        super().__init__(
            ME,
            coordinator.run.genesis,
            folder,
            tier=tier or TlsTier(ME),
            fetch=coordinator.fetch_into(),
            push=self.push,
            trainer=FakeTrainer(coordinator.run.theta() - np.float32(0.01)),
            now_s=lambda: self.now_s,
            resolve_timeout_s=RESOLVE_TIMEOUT_S,
        )

    async def join(self, seq: int = -1) -> None:
        """Open a session; a newcomer begins at record `seq`."""
        records = self.coordinator.records
        await self.welcomed(records[seq], len(records))

    async def offer(self) -> Offer:
        await self.consider_offering()
        return canonical.decode(self.sent[-1].offer.offer, Offer)

    def plan(self, offer: Offer) -> Plan:
        plan = self.coordinator.run.plan()
        others = tuple(o for o in plan.offers if o.worker != ME)
        offers = tuple(sorted((*others, offer), key=lambda o: o.worker))
        return replace(plan, offers=offers, live_speed=sum(o.speed for o in offers))

    async def take_part(self) -> Plan:
        """Go through a round up to the beginning of the upload."""
        plan = self.plan(await self.offer())
        await self.planned(plan)
        ph = canonical.digest(plan)
        answers = {str(w): canonical.encode(Answer(ph, w, NUMBERS)) for w in plan.roster}
        members = session_pb2.Members(round_id=bytes.fromhex(plan.round), answers=answers)
        await self.named(members)
        return plan

    async def expose(self) -> Plan:
        """Go through a round up to the end of the upload."""
        plan = await self.take_part()
        await self.uploaded()
        return plan

    def committed(self, *survivors: WorkerId) -> Record:
        return self.coordinator.step(dict.fromkeys(survivors, self.trainer.theta))


OTHERS = (WorkerId("azure"), WorkerId("gcp"), WorkerId("onprem"))


@pytest.fixture
async def cloud(tmp_path: Path) -> Cloud:
    coordinator = Coordinator()
    coordinator.step()
    made = Cloud(coordinator, tmp_path)
    await made.join()
    return made


async def test_a_newcomer_begins_where_it_is_told_and_saves_at_once(cloud: Cloud) -> None:
    begin = cloud.trainer.last(Begin)
    assert (begin.clock.version, begin.resume) == (1, "")
    manifest = cloud.state.load()
    assert manifest is not None
    assert manifest.position == cloud.replica.position


async def test_work_that_a_commit_names_is_measured_against_theta_at_close(cloud: Cloud) -> None:
    plan = await cloud.expose()
    stage = cloud.state.stage
    assert cloud.push.pushed == [plan.round]
    await cloud.recorded(cloud.committed(ME, *OTHERS))
    merge = cloud.trainer.last(Merge)
    assert (merge.fate, merge.round) == ("contributed", plan.round)
    assert merge.anchor == (str(stage.theta),)
    assert merge.head == cloud.replica.segments()
    assert cloud.round.work is WorkState.FREE
    assert not stage.folder.exists()


async def test_work_that_a_commit_leaves_out_is_free_and_keeps_its_residual(cloud: Cloud) -> None:
    before = cloud.replica.segments()
    plan = await cloud.expose()
    await cloud.recorded(cloud.committed(*OTHERS))
    assert cloud.trainer.last(Release) == Release(plan.round, "free")
    merge = cloud.trainer.last(Merge)
    assert (merge.fate, merge.anchor) == ("none", before)
    manifest = cloud.state.load()
    assert manifest is not None
    assert not (cloud.state.folder(manifest) / "residual.f32").exists()


async def test_an_abort_frees_the_work_and_moves_nothing(cloud: Cloud) -> None:
    plan, stage = await cloud.expose(), cloud.state.stage
    abort = Abort(plan.round, plan.roster, "stopped", "")
    await cloud.recorded(cloud.coordinator.append(abort=abort))
    assert cloud.trainer.last(Release) == Release(plan.round, "free")
    assert not [m for m in cloud.trainer.told if isinstance(m, Merge)]
    assert not stage.folder.exists()


async def test_the_residual_of_a_contribution_is_the_next_one_s_beginning(cloud: Cloud) -> None:
    await cloud.expose()
    residual = cloud.state.stage.residual.read_bytes()
    assert any(residual)
    await cloud.recorded(cloud.committed(ME, *OTHERS))
    manifest = cloud.state.load()
    assert manifest is not None
    assert (cloud.state.folder(manifest) / "residual.f32").read_bytes() == residual


async def test_a_worker_killed_after_its_upload_learns_from_the_log_that_it_counted(
    cloud: Cloud, tmp_path: Path
) -> None:
    plan = await cloud.expose()
    record = cloud.committed(ME, *OTHERS)

    again = Cloud(cloud.coordinator, tmp_path)
    await again.resume()
    stage = again.state.stage
    assert again.trainer.last(Begin).resume == str(stage.folder)
    await again.recorded(record)
    merge = again.trainer.last(Merge)
    assert (merge.fate, merge.round) == ("contributed", plan.round)
    assert merge.anchor == (str(stage.theta),)


async def test_a_stage_that_the_save_has_outlived_is_dropped(cloud: Cloud, tmp_path: Path) -> None:
    await cloud.expose()
    former = cloud.state.stage.folder
    stage = {p.name: p.read_bytes() for p in former.iterdir()}
    await cloud.recorded(cloud.committed(ME, *OTHERS))
    former.mkdir(parents=True)  # as if the kill had come before the former save was deleted
    for name, content in stage.items():
        (former / name).write_bytes(content)

    again = Cloud(cloud.coordinator, tmp_path)
    await again.resume()
    manifest = again.state.load()
    assert manifest is not None
    assert again.trainer.last(Begin).resume == str(again.state.folder(manifest))
    assert again.round.work is WorkState.FREE


async def test_an_update_with_nan_is_refused_and_the_state_is_forgotten(cloud: Cloud) -> None:
    cloud.trainer.finite = False
    with pytest.raises(DivergedError, match="NaN or infinity"):
        await cloud.planned(cloud.plan(await cloud.offer()))
    assert cloud.sent[-1].refuse.rule == 15
    assert cloud.state.load() is None


@pytest.mark.parametrize("name", ["", "r1", "../log", "5E" * 16, "5e" * 15, "5e" * 17, "é" * 32])
async def test_a_plan_of_a_round_that_is_none_changes_nothing(cloud: Cloud, name: str) -> None:
    plan = cloud.plan(await cloud.offer())
    before = list(cloud.sent)
    await cloud.planned(replace(plan, round=RoundId(name), bits=12))
    assert cloud.sent == before
    assert cloud.round.work is WorkState.FREE
    await cloud.planned(plan)
    assert cloud.sent[-1].WhichOneof("message") == "answer"


async def test_work_that_is_too_old_is_taken_out_of_the_parameters(cloud: Cloud) -> None:
    cloud.trainer.numbers = replace(NUMBERS, age_256=256 * 9)
    plan, stage = cloud.plan(await cloud.offer()), cloud.state.stage
    await cloud.planned(plan)
    assert cloud.sent[-1].refuse.rule == 15
    merge = cloud.trainer.last(Merge)
    assert (merge.fate, merge.round, merge.head) == ("spent", plan.round, cloud.replica.segments())
    assert merge.anchor == (str(stage.theta),)


async def test_a_worker_in_a_round_ends_after_its_outcome(cloud: Cloud) -> None:
    await cloud.expose()
    await cloud.stopped()
    assert not cloud.saved
    await cloud.recorded(cloud.committed(ME, *OTHERS))
    assert cloud.saved
