"""One worker's conduct: training goes on; offers, rounds and merges happen around it.

    trainer process --Progress--> offer --Plan--> Close --Closed--> numbers --Members--> upload
    log records, in order --> replica.apply --> Merge --> save

One task owns everything here and handles one thing at a time, so a plan is looked at only after the
records before it are applied. Long work (encoding, transfers, replaying) runs in threads; while it
does, heartbeats go on elsewhere (`link.py`) and the trainer trains.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Final, Protocol

from common import canonical
from common.documents import Genesis, Numbers, Offer, Plan, Record
from common.errors import DivergedError, ProtocolError
from common.ids import RoundId, WorkerId
from protos.v1 import session_pb2
from services.metrics import WorkerMetrics
from services.replica import Replica
from services.worker.messages import (
    Begin,
    Budget,
    Clock,
    Close,
    Merge,
    Progress,
    Release,
    Return,
    Save,
)
from services.worker.state import StateFolder
from services.worker.trainer import Trainer
from services.worker.upload import Payload, encode_payload
from worker.round import Fate, RefusedError, Work, WorkerRound

log = logging.getLogger(__name__)

SAVE_INTERVAL_S: Final = 300.0


class Push(Protocol):
    """`services.bulk_link.BulkLink.push`, in a thread."""

    async def __call__(
        self,
        round_id: RoundId,
        num_shards: int,
        read_shard: Callable[[int], bytes],
        *,
        give_up: Event,
    ) -> None:
        """Return once every shard arrived."""


@dataclass(slots=True)
class _Upload:
    give_up: Event
    task: asyncio.Task[None]


class Agent:
    """See the module docstring.

    Args:
        send: queue a message for the coordinator; dropped while there is no session.
        link_bps: measured upload speed, 0 = not measured yet.
        now_s: monotonic clock.
    """

    def __init__(
        self,
        worker: WorkerId,
        genesis: Genesis,
        *,
        boot: str,
        state: StateFolder,
        replica: Replica,
        trainer: Trainer,
        push: Push,
        send: Callable[[session_pb2.ConnectRequest], None],
        link_bps: Callable[[], int],
        metrics: WorkerMetrics,
        now_s: Callable[[], float],
    ) -> None:
        self._worker = worker
        self._genesis = genesis
        self._boot = boot
        self._state = state
        self._replica = replica
        self._trainer = trainer
        self._push = push
        self._send = send
        self._link_bps = link_bps
        self._metrics = metrics
        self._now_s = now_s
        self._round = WorkerRound(worker)
        self._local_steps = genesis.algorithm.local_steps
        self._paused = False
        self.begun = False
        self._residual: Path | None = None
        self._loss_2_20 = 0
        self._anchor: tuple[str, ...] = ()  # what the parameters' local work is measured against
        self._contributed = ""  # round whose work is in the next version that we reach
        self._upload: _Upload | None = None
        self._saved_at_s = now_s()
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.connected = False
        self.saved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._finishing = False
        self.merges = 0

    @property
    def offer_nonce(self) -> str:
        """The nonce of the open offer, "" if there is none."""
        return "" if self._round.offer is None else self._round.offer.nonce

    @property
    def settled(self) -> bool:
        """Whether no round has frozen work of this worker."""
        return self._round.work is Work.FREE

    async def resume(self) -> None:
        """Go on from the state on disk, if there is one: the stage, else the save."""
        manifest = self._state.load()
        if manifest is None:
            return
        stage = self._state.load_stage()
        save = self._state.folder(manifest)
        self._replica.position = manifest.position
        self._residual = save / "residual.f32"
        if stage is not None:
            self._round = WorkerRound(self._worker, stage)
        folder = save if stage is None else self._state.stage
        await self._begin(str(folder))
        log.info("resumed at version %d from %s", manifest.position.version, folder.name)

    # What comes in

    async def welcomed(self, welcome: session_pb2.Welcome) -> None:
        """A session is open. A newcomer begins at the newest snapshot."""
        self.connected = True
        if self.begun:
            return
        record = canonical.decode(welcome.start_record, Record)
        await asyncio.to_thread(self._replica.start_at, record)
        await self._begin("")
        await self._save()

    async def disconnected(self) -> None:
        """The session is gone; training and a running upload go on."""
        self.connected = False

    async def paced(self, pace: session_pb2.Pace) -> None:
        """The coordinator answered a heartbeat."""
        if (pace.local_steps, pace.paused) != (self._local_steps, self._paused):
            self._local_steps, self._paused = pace.local_steps, pace.paused
            await self._trainer.tell(Budget(pace.local_steps, pace.paused))
        if pace.void_offer and pace.void_offer == self.offer_nonce:  # not one from before it
            self._round.offer = None

    def consider_offering(self) -> None:
        """Offer, if there is enough work and nothing stands against it."""
        progress = self._trainer.progress
        open_to_work = self.connected and self.begun and not self._finishing
        if not open_to_work or progress is None or self._replica.behind:
            return
        if self._round.work is not Work.FREE or self._round.offer is not None:
            return
        if progress.pending.steps < self._local_steps:
            return
        self._round.offer = offer = self._offer(progress)
        submit = session_pb2.SubmitOffer(offer=canonical.encode(offer))
        self._send(session_pb2.ConnectRequest(offer=submit))

    def _offer(self, progress: Progress) -> Offer:
        at, pending = self._replica.position, progress.pending
        return Offer(
            run=self._genesis.run,
            worker=self._worker,
            boot=self._boot,
            nonce=secrets.token_hex(16),
            version=at.version,
            digest=at.digest,
            tokens=pending.tokens,
            lr_sum=pending.lr_sum,
            age_256=pending.age_256,
            steps=pending.steps,
            speed=max(1, round(progress.speed)),
            link_bps=self._link_bps(),
        )

    async def planned(self, content: bytes) -> None:
        """A cohort was closed with this worker in it: freeze the work, send its numbers."""
        plan = canonical.decode(content, Plan)
        if (stage := self._round.stage) is not None and stage.plan == plan:
            if stage.numbers is not None:  # after a broken stream: what was sent may be lost
                self._send_numbers(plan, stage.numbers)
            return
        at = self._replica.position
        try:
            self._round.accept(plan, at.version, at.digest, at.next_seq)
        except RefusedError as e:
            self._refuse(e)
            return
        folder = self._state.begin_stage()
        began_s = self._now_s()
        closed = await self._trainer.close(Close(plan.round, str(folder)))
        self._metrics.took("close", self._now_s() - began_s)
        limit = self._genesis.algorithm.max_staleness
        try:
            numbers = self._round.close(closed.numbers, finite=closed.finite, max_staleness=limit)
        except RefusedError as e:
            self._refuse(e)
            if not closed.finite:
                self._state.forget()
                raise DivergedError(
                    f"{e.sentence}: training diverged; a restart begins anew from the head, and if "
                    "it happens again the learning rate (schedule.peak) is too high"
                ) from None
            await self._drop(plan.round, spent=closed.numbers.steps > 0)
            return
        self._loss_2_20 = closed.loss_2_20
        await asyncio.to_thread(self._state.write_stage, self._round.stored())
        self._send_numbers(plan, numbers)

    def _send_numbers(self, plan: Plan, numbers: Numbers) -> None:
        submit = session_pb2.SubmitNumbers(
            round_id=bytes.fromhex(plan.round), numbers=canonical.encode(numbers)
        )
        self._send(session_pb2.ConnectRequest(numbers=submit))

    def _refuse(self, e: RefusedError) -> None:
        log.warning("refused round %s by rule %d: %s", e.round[:8], e.rule, e.sentence)
        self._metrics.round_ended("refused")
        refuse = session_pb2.Refuse(
            round_id=bytes.fromhex(e.round), rule=e.rule, sentence=e.sentence
        )
        self._send(session_pb2.ConnectRequest(refuse=refuse))

    async def _drop(self, round_id: RoundId, *, spent: bool) -> None:
        """End a round that this worker refused after freezing: spent work leaves the parameters."""
        self._metrics.round_ended("spent" if spent else "free")
        if spent:
            theta = (str(self._state.stage / "theta.f32"),)
            leaves = self._replica.leaves()
            await self._trainer.merge(Merge(self._clock(), leaves, theta, round_id, "spent"))
            await self._save()
        else:
            await self._trainer.tell(Release(round_id, "free"))
        self._state.drop_stage()

    async def joined_by(self, message: session_pb2.Members) -> None:
        """U2 is known: encode and upload, in the background."""
        round_id = RoundId(message.round_id.hex())
        numbers = {WorkerId(w): canonical.decode(n, Numbers) for w, n in message.numbers.items()}
        if self._round.stage is None or self._round.stage.exposed:
            log.info("members of round %s came late or twice", round_id[:8])
            return
        try:
            plan = self._round.expose(round_id, numbers)
        except RefusedError as e:
            self._refuse(e)
            return
        give_up = Event()
        work = self._upload_round(plan, numbers, self._round.stored(), give_up)
        self._upload = _Upload(give_up, asyncio.create_task(work))
        self._upload.task.add_done_callback(self._on_uploaded)

    async def _upload_round(
        self, plan: Plan, numbers: Mapping[WorkerId, Numbers], stage: bytes, give_up: Event
    ) -> None:
        """Encode the frozen work and send it; the last byte of the stage is durable before."""
        began_s = self._now_s()
        with await asyncio.to_thread(self._encode, plan, numbers, stage) as payload:
            encoded_s = self._now_s()
            self._metrics.took("encode", encoded_s - began_s)
            num_shards = payload.layout.num_shards
            await self._push(plan.round, num_shards, payload.read_shard, give_up=give_up)
            self._metrics.took("upload", self._now_s() - encoded_s)

    def _encode(self, plan: Plan, numbers: Mapping[WorkerId, Numbers], stage: bytes) -> Payload:
        """Encode the frozen work. In a thread; writes only files of the stage."""
        folder = self._state.stage
        payload = encode_payload(
            self._genesis,
            self._replica.version(),
            plan,
            numbers,
            self._worker,
            self._loss_2_20,
            read_blob=self._replica.read,
            theta=folder / "theta.f32",
            residual=self._residual,
            next_residual=folder / "residual.f32",
            payload=folder / "payload.bin",
        )
        self._state.write_stage(stage)
        return payload

    def _on_uploaded(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (e := task.exception()) is not None:
            log.warning("upload ended: %s", e)
            if not isinstance(e, ProtocolError):
                self.broken.set_exception(e)

    async def recorded(self, content: bytes) -> None:
        """The next record of the log: apply it, and settle the round that it ends."""
        record = canonical.decode(content, Record)
        if record.seq < self._replica.position.next_seq:
            return  # a new session may begin with what the old one had sent already
        stage, fate = self._round.stage, self._round.resolve(record)
        if stage is not None and fate is not None:
            await self._end_upload()
            await self._settle(stage.plan.round, fate)
        if await asyncio.to_thread(self._replica.apply, record):
            await self._move()
        elif fate is Fate.FREE:
            await self._save()  # only then may the stage, which holds the same work, go
        await self._finish_if_settled()

    async def _settle(self, round_id: RoundId, fate: Fate) -> None:
        """Say what the frozen work is from now on."""
        self._metrics.round_ended(fate.value)
        if fate is Fate.CONTRIBUTED:
            self._contributed = round_id
            self._anchor = (str(self._state.stage / "theta.f32"),)
            self._residual = self._state.stage / "residual.f32"
            log.info("contributed to round %s", round_id[:8])
        else:
            await self._trainer.tell(Release(round_id, fate.value))

    async def _move(self) -> None:
        """Move the parameters onto the replica's version, and save: then the outcome is held."""
        fate = "contributed" if self._contributed else "none"
        head = await asyncio.to_thread(self._replica.leaves)
        clock, began_s = self._clock(), self._now_s()
        if self._replica.position.rolled_back:
            log.warning("rolled back: version %d, without local work", clock.version)
            self._residual = None
            await self._trainer.roll_back(Return(clock, head))
        else:
            await self._trainer.merge(Merge(clock, head, self._anchor, self._contributed, fate))
        self._metrics.took("merge", self._now_s() - began_s)
        self._contributed, self._anchor = "", head
        self.merges += 1
        await self._save()

    async def _save(self) -> None:
        """Make the present state the one that a restart finds; no round may be unresolved."""
        assert self.settled, "the stage would be lost"
        folder = self._state.new_save()
        await self._trainer.save(Save(str(folder)))
        position, residual = self._replica.position, self._residual
        await asyncio.to_thread(self._replica.sync)
        await asyncio.to_thread(self._state.commit_save, folder, position, residual)
        self._residual = folder / "residual.f32"
        self._saved_at_s = self._now_s()
        await asyncio.to_thread(self._replica.collect)

    async def finish(self) -> None:
        """Offer no more, and save as soon as no round has frozen work; `saved` says when."""
        self._finishing, self._round.offer = True, None
        await self._finish_if_settled()

    async def _finish_if_settled(self) -> None:
        if self._finishing and self.settled and not self.saved.done():
            if self.begun:
                await self._save()
            self.saved.set_result(None)

    async def ticked(self) -> None:
        """Save now and then, also while nothing is committed."""
        due = self._now_s() - self._saved_at_s > SAVE_INTERVAL_S
        if due and self.begun and self._round.work is Work.FREE:
            await self._save()

    async def _end_upload(self) -> None:
        if self._upload is not None:
            self._upload.give_up.set()
            await asyncio.wait((self._upload.task,))
            self._upload = None

    async def _begin(self, resume: str) -> None:
        self._anchor = await asyncio.to_thread(self._replica.leaves)
        await self._trainer.tell(Begin(self._clock(), self._anchor, resume))
        await self._trainer.tell(Budget(self._local_steps, self._paused))
        self.begun = True

    def _clock(self) -> Clock:
        at = self._replica.position
        return Clock(at.version, at.progress, at.member_steps_256 / 256)
