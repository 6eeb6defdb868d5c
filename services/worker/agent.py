"""One worker's conduct: training goes on; offers, rounds and merges happen around it.

    trainer process --Progress--> offer --Plan--> Close --Closed--> numbers --Members--> upload
    log records, in order --> held --believed--> replica.follow --> Merge --> save

One task owns everything here and handles one thing at a time, so a plan is looked at only after the
records before it. Long work (encoding, transfers, replaying) runs in threads; heartbeats go on
elsewhere (`link.py`), and the trainer trains.

It is long because every thing that can happen to a worker has its method here, in one order.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import Final, assert_never

from common import canonical
from common.checks import check_plan
from common.documents import Answer, Attestation, Genesis, Offer, Plan, Record
from common.errors import BadCommitError, DivergedError, ProtocolError, UnknownFileError
from common.ids import RoundId, WorkerId
from protos.v1 import session_pb2
from services.observe.metrics import WorkerMetrics
from services.versions.replica import Replica
from services.worker.convert import (
    answer_request,
    attest_request,
    members_of,
    offer_request,
    plan_of,
    refuse_request,
)
from services.worker.messages import (
    Begin,
    Budget,
    Clock,
    Close,
    Merge,
    Progress,
    Release,
    Return,
    SaveTo,
)
from services.worker.state import Manifest, StateFolder
from services.worker.trainer import TrainerLink
from services.worker.unmasking import UnmaskingConduct
from services.worker.upload import Payload, Push, Upload, encode_payload
from worker.rounds.attempt import Attempt
from worker.rounds.belief import BeginAt, Follow, Verify, Wait
from worker.rounds.held import Held
from worker.rounds.masked_tier import MaskedTier
from worker.rounds.pace import Bounds, Missed, OwnPace, Turns
from worker.rounds.round import Fate, RefusedError, Rule, Stage, WorkerRound, WorkState
from worker.rounds.tls_tier import TlsAttempt, TlsTier
from worker.rounds.visited import Visited

log = logging.getLogger(__name__)

SAVE_INTERVAL_S: Final = 300.0


class Agent:
    """See the module docstring.

    Args:
        tier: what the privacy tier adds to a round.
        send: queue a message for the coordinator; dropped while there is no session.
        redial: have a new session opened, which begins where this worker stands by now.
        link_bps: measured upload speed, 0 = not measured yet.
        now_s: monotonic clock.
        resolve_timeout_s: and after this time in any case, since a plan's limits are whoever's.
        turns: how cohorts take turns, as this worker's own files have it.
    """

    def __init__(
        self,
        worker: WorkerId,
        genesis: Genesis,
        *,
        boot: str,
        state: StateFolder,
        replica: Replica,
        trainer: TrainerLink,
        tier: TlsTier | MaskedTier,
        push: Push,
        send: Callable[[session_pb2.ConnectRequest], None],
        redial: Callable[[], None],
        link_bps: Callable[[], int],
        metrics: WorkerMetrics,
        now_s: Callable[[], float],
        resolve_timeout_s: float,
        turns: Turns = Turns(),  # noqa: B008 - frozen
    ) -> None:
        self._worker = worker
        self._genesis = genesis
        self._boot = boot
        self._state = state
        self._replica = replica
        self._trainer = trainer
        self._tier = tier
        self._attempt: TlsAttempt | Attempt | None = None
        self._push = push
        self._send = send
        self._redial = redial
        self._link_bps = link_bps
        self._metrics = metrics
        self._now_s = now_s
        self._resolve_timeout_s = resolve_timeout_s
        self._round = WorkerRound(worker, genesis.algorithm.colluding)
        self._held = Held(genesis, tier, replica.position.log)
        self._num_records, self._snapshot_seq = 0, -1  # of the log as Welcome told, and in it
        self._unsaved = False  # whether a round's outcome is in no save yet
        self._waits_since_s: float | None = None  # for members' words
        self._looked_at = -1  # record whose sum this worker has tried to check
        self._words: tuple[Attestation, ...] = ()  # on which it stood as it was saved
        self._known = Visited().standing_on(0, genesis.version0)
        self._stage_lock = asyncio.Lock()
        self._staged_at_s = 0.0
        self._pace = OwnPace(genesis.algorithm, turns)
        self._told_pace: Bounds | None = None
        self.unmasking = UnmaskingConduct(
            tier,
            latest=lambda: (self._round, self._attempt),
            send=send,
            refuse=self._refuse,
            write_stage=self._write_stage,
            end_upload=self._end_upload,
        )
        self.begun, self.connected, self._finishing = False, False, False
        self._residual: Path | None = None
        self._loss_2_20 = 0
        self._anchor: tuple[str, ...] = ()  # what the parameters' local work is measured against
        self._contributed = ""  # round whose work is in the next version that we reach
        self._upload: Upload | None = None
        self._saved_at_s = now_s()
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.saved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.merges = 0

    @property
    def offer_nonce(self) -> str:
        """The nonce of the open offer, "" if there is none."""
        return "" if self._round.offer is None else self._round.offer.nonce

    @property
    def settled(self) -> bool:
        """Whether a save holds all: no round has frozen work, no merge waits for its version."""
        return self._round.work is WorkState.FREE and not self._contributed

    async def resume(self) -> None:
        """Go on from the state on disk, if there is one: the stage, else the save."""
        manifest = self._state.load()
        if manifest is None:
            return
        stage = self._state.load_stage()
        save = self._state.folder(manifest)
        self._replica.position = manifest.position
        self._held.restart(manifest.position.log)
        self._residual = save / "residual.f32"
        self._known, self._words = manifest.known, manifest.words
        self._pace.begin(manifest.missed)
        if stage is not None:
            self._round = WorkerRound(self._worker, self._genesis.algorithm.colluding, stage)
            self._staged_at_s = self._now_s()
        folder = save if stage is None else self._state.stage
        await self._begin(str(folder))
        log.info("resuming at version %d from %s", manifest.position.version, folder.name)

    # What comes in

    async def welcomed(self, welcome: session_pb2.Welcome) -> None:
        """A session is open. A newcomer begins at the newest snapshot."""
        self.connected = True
        start = canonical.decode(welcome.start_record, Record)
        self._num_records, self._snapshot_seq = welcome.num_records, start.seq
        if self.begun:
            self._tell_words()
        self._held.restart(self._replica.position.log)
        self._looked_at = -1
        if not self.begun:
            self._held.start(start)
            await self._follow()
        elif await asyncio.to_thread(self._replica.retry, welcome.num_records):
            await self._move()

    async def disconnected(self) -> None:
        """The session is gone; training and a running upload go on."""
        self.connected = False

    async def paced(self, pace: session_pb2.Pace) -> None:
        """The coordinator answered a heartbeat."""
        if said := self._pace.told(pace.local_steps, paused=pace.paused):
            log.warning(said)
        await self._tell_pace()
        if pace.void_offer and pace.void_offer == self.offer_nonce:  # not one from before it
            self._round.offer = None

    async def _tell_pace(self) -> None:
        if self.begun and (bounds := self._pace.bounds) != self._told_pace:
            self._told_pace = bounds
            budget = Budget(bounds.local_steps, bounds.paused, bounds.rounds_ahead)
            await self._trainer.tell(budget)

    def consider_offering(self) -> None:
        """Offer, if there is enough work and nothing stands against it."""
        progress = self._trainer.progress
        open_to_work = self.connected and self.begun and not self._finishing
        if not open_to_work or progress is None or self._replica.behind:
            return
        if self._round.work is not WorkState.FREE or self._round.offer is not None or self._held:
            return
        if progress.pending.steps < self._pace.bounds.local_steps:
            return
        self._round.offer = offer = self._offer(progress)
        self._send(offer_request(offer))

    def _offer(self, progress: Progress) -> Offer:
        at, pending = self._replica.position, progress.pending
        offer = Offer(
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
        return self._tier.sign_offer(offer)

    async def planned(self, content: bytes) -> None:
        """A cohort was closed with this worker in it: freeze the work, send its numbers."""
        if (plan := plan_of(content)) is None:
            return
        if (stage := self._round.stage) is not None and stage.plan == plan:
            if self._attempt is not None and stage.answer is not None:
                self._send_answer(stage.plan, self._attempt)  # its stream broke: it may be lost
            return
        at = self._replica.position
        try:
            self._round.accept(plan, at.version, at.digest, at.next_seq, len(self._held))
        except RefusedError as e:  # what an earlier plan froze stays: it may bear this round's id
            self._refuse(e)
            return
        try:
            await self._check_terms(plan)
            self._attempt = self._tier.begin(plan)
        except RefusedError as e:
            self._round.forget(plan.round)
            self._refuse(e)
            return
        folder = self._state.begin_stage()
        began_s = self._staged_at_s = self._now_s()
        closed = await self._trainer.close(Close(plan.round, str(folder)))
        self._metrics.took("close", self._now_s() - began_s)
        try:
            self._round.close(
                closed.numbers,
                finite=closed.finite,
                max_staleness=self._genesis.algorithm.max_staleness,
                most_steps=self._pace.most_steps,
            )
        except RefusedError as e:
            self._refuse(e)
            if not closed.finite:
                self._state.forget()
                raise DivergedError(
                    f"{e.sentence}: training diverged; a restart begins anew from the head, and if "
                    "it happens again the learning rate (schedule.peak) is too high"
                ) from None
            fate = Fate.SPENT if closed.numbers.steps > 0 else Fate.FREE
            await self._settle(plan.round, fate)
            await self._save()
            return
        self._loss_2_20 = closed.loss_2_20
        answer, _ = self._attempt.answer(closed.numbers)
        self._round.answered(answer)
        await self._write_stage()
        self._send_answer(plan, self._attempt)

    async def _check_terms(self, plan: Plan) -> None:
        """Refuse a plan that no commit may have: its work would be spent for nothing (rule 1)."""
        version = await asyncio.to_thread(self._replica.version)
        try:
            check_plan(self._genesis, version, plan)
        except BadCommitError as e:
            raise RefusedError(plan.round, Rule.TERMS, str(e)) from None

    def _send_answer(self, plan: Plan, attempt: TlsAttempt | Attempt) -> None:
        assert self._round.stage is not None
        assert self._round.stage.answer is not None
        answer, sealed = attempt.answer(self._round.stage.answer.numbers)
        self._send(answer_request(plan.round, answer, sealed))

    def _refuse(self, e: RefusedError) -> None:
        if self._finishing and e.rule is Rule.OFFER:  # it took its offer back; a Leave follows
            log.info("round %s goes on without this worker, which ends", e.round[:8])
            return
        text = f"refused round {e.round[:8]} by rule {e.rule}: {e.sentence}"
        log.warning(text, extra={"round": e.round})
        self._metrics.round_ended("refused")
        self._send(refuse_request(e))

    async def named(self, message: session_pb2.Members) -> None:
        """U2 is known: encode and upload, in the background."""
        round_id, answers, sealed = members_of(message)
        stage, attempt = self._round.stage, self._attempt
        if stage is None or attempt is None:
            log.info("members of round %s came late", round_id[:8], extra={"round": round_id})
            return
        try:
            if not self._round.name(round_id, answers):
                return  # again, after a broken stream: the upload goes on
            attempt.named(answers, sealed)
        except RefusedError as e:
            self._refuse(e)
            return
        self._round.expose(answers, attempt.kappa)
        give_up = Event()
        work = self._upload_round(stage.plan, answers, attempt, give_up)
        self._upload = Upload(give_up, asyncio.create_task(work))
        self._upload.task.add_done_callback(self._on_uploaded)

    async def _upload_round(
        self,
        plan: Plan,
        answers: Mapping[WorkerId, Answer],
        attempt: TlsAttempt | Attempt,
        give_up: Event,
    ) -> None:
        """Encode the frozen work and send it; the last byte of the stage is durable before."""
        began_s = self._now_s()
        with await asyncio.to_thread(self._encode, plan, answers, attempt) as payload:
            await self._write_stage()
            if give_up.is_set():  # it may be settled by now, and then nothing of it is durable
                return
            encoded_s = self._now_s()
            self._metrics.took("encode", encoded_s - began_s)
            num_shards = payload.layout.num_shards
            await self._push(plan.round, num_shards, payload.read_shard, give_up=give_up)
            self._metrics.took("upload", self._now_s() - encoded_s)

    def _encode(
        self,
        plan: Plan,
        answers: Mapping[WorkerId, Answer],
        attempt: TlsAttempt | Attempt,
    ) -> Payload:
        """Encode the frozen work. In a thread; writes only files of the stage."""
        folder = self._state.stage
        return encode_payload(
            self._genesis,
            self._replica.version(),
            plan,
            {worker: answer.numbers for worker, answer in answers.items()},
            self._worker,
            self._loss_2_20,
            own_clip=self._tier.max_clip,
            protect=attempt.protect,
            read_blob=self._replica.read,
            theta=folder / "theta.f32",
            residual=self._residual,
            next_residual=folder / "residual.f32",
            anchor=folder / "anchor.f32",
            payload=folder / "payload.bin",
        )

    async def _write_stage(self) -> None:
        """Make the stage durable as it is when it is written.

        One at a time: the upload's may not bring back a stage from before a share was revealed.
        """
        async with self._stage_lock:
            if self._round.stage is not None:
                await asyncio.to_thread(self._state.write_stage, self._round.stored())

    def _on_uploaded(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (e := task.exception()) is not None:
            log.warning("upload ended: %s", e)
            if not isinstance(e, ProtocolError):
                self.broken.set_exception(e)

    async def recorded(self, content: bytes) -> None:
        """The next record of the log: follow it as far as its version can be believed."""
        record = canonical.decode(content, Record)
        if record.seq < self._held.next_seq:
            return  # a new session may begin with what the old one had sent already
        if record.seq > self._held.next_seq:
            self._redial()  # a newcomer's session, at a later snapshot than it could begin at
            return
        self._held.hold(record)
        await self._follow()

    async def attested(self, message: session_pb2.Attest) -> None:
        """A member says what its round made."""
        try:
            self._tier.heard(canonical.decode(message.attestation, Attestation))
        except ProtocolError as e:
            log.warning("no such word: %s", e)
            return
        await self._follow()

    async def _follow(self) -> None:
        """Follow the held records up to the last one whose version is believed."""
        if self._held.next_seq < self._num_records:
            return  # the rest of what it missed is on its way: then it sees which way is cheaper
        while self._held:
            can_verify = self._can_verify(self._held.first)
            match self._held.next(self._known, begun=self.begun, can_verify=can_verify):
                case BeginAt(index=index):
                    await self._start_at(self._held.take(index + 1))
                case Verify():
                    await self._verify(self._held.first)
                case Follow(num=num):
                    await self._go(self._held.take(num))
                case Wait():
                    if self._waits_since_s is None:
                        first = self._held.first
                        why = self._tier.complaint(first)
                        level = logging.WARNING if why else logging.DEBUG
                        log.log(level, "waits for words for version %d; %s", first.version, why)
                        self._waits_since_s = self._now_s()
                    return
                case move:
                    assert_never(move)

    def _can_verify(self, record: Record) -> bool:
        """Return whether this is its own round's commit, right here, and not looked at yet."""
        commit, stage = record.commit, self._round.stage
        if commit is None or stage is None or not stage.kappa or self._replica.behind:
            return False
        is_own = commit.plan == stage.plan and self._worker in commit.survivors
        return is_own and record.seq != self._looked_at

    async def _verify(self, record: Record) -> None:
        """Check the sum and the step, and give this worker's word for what they make (rule 14)."""
        commit, stage, self._looked_at = record.commit, self._round.stage, record.seq
        assert commit is not None
        assert stage is not None
        try:
            word = self._tier.word(record)
            if not self._round.has_vouched(word):
                self._round.check_numbers(commit)
                await asyncio.to_thread(self._replica.check, commit, bytes.fromhex(stage.kappa))
                await asyncio.to_thread(self._replica.attempt, record)
            self._round.vouch(word)
        except UnknownFileError:
            return  # it came too late to check the sum: it waits for the others' words
        except BadCommitError as e:
            raise DivergedError(
                f"version {record.version} is refused by rule {Rule.RECORD}: {e}; ask the operator "
                "to roll back to a version before it"
            ) from None
        await self._write_stage()
        self._tier.heard(word)
        self._send(attest_request(word))

    async def _start_at(self, records: list[Record]) -> None:
        """A newcomer begins at the version of the last one, which it believes."""
        record, self._waits_since_s = records[-1], None
        self._tier.forget(records)
        try:
            await asyncio.to_thread(self._replica.start_at, record)
        except UnknownFileError:  # it took too long; there is a newer snapshot
            if not self._held:
                self._redial()
            return
        self._pace.begin(Missed(record.version, record.version))
        await self._begin("")
        await self._save()

    async def _go(self, records: list[Record]) -> None:
        """Follow records, and settle the rounds that they end; the last one is believed."""
        for record in records:
            stage, fate = self._round.stage, self._round.resolve(record)
            if stage is not None and fate is not None:
                await self._end_upload()
                await self._settle(stage.plan.round, fate)
                self._unsaved = True
            if record.commit is not None:
                num_members = len(record.commit.plan.offers)
                self._pace.made(num_members, own=fate is Fate.CONTRIBUTED)
        if self._waits_since_s is not None:
            self._metrics.took("words", self._now_s() - self._waits_since_s)
            self._waits_since_s = None
        moved = await asyncio.to_thread(self._replica.follow, records, self._snapshot_seq)
        self._tier.forget(records)
        if moved:
            await self._move()
        elif self._unsaved and self.settled:
            await self._save()  # only then may the stage, which holds the same work, go
        await self._finish_if_settled()

    def _tell_words(self) -> None:
        """Let a coordinator that may have lost them know on whose words this worker stands."""
        for word in self._tier.newest_words() or self._words:
            self._send(attest_request(word))

    async def _settle(self, round_id: RoundId, fate: Fate) -> None:
        """Say what the frozen work is from now on."""
        self._metrics.round_ended(fate.value)
        self._attempt = None
        anchor = self._state.stage / "anchor.f32"  # only where some blocks did not travel
        theta = (str(anchor if anchor.exists() else self._state.stage / "theta.f32"),)
        residual = self._state.stage / "residual.f32"
        if fate is Fate.CONTRIBUTED:
            self._contributed, self._anchor, self._residual = round_id, theta, residual
            log.info("contributed to round %s", round_id[:8], extra={"round": round_id})
        elif fate is Fate.SPENT:  # it leaves the parameters, and what it rounded off stays
            base = self._anchor
            await self._trainer.merge(Merge(self._clock(), base, theta, round_id, fate.value))
            self._residual = residual if residual.exists() else self._residual
        else:
            await self._trainer.tell(Release(round_id, fate.value))

    async def _move(self) -> None:
        """Move the parameters onto the replica's version, and save: then the outcome is held."""
        fate = "contributed" if self._contributed else "none"
        head = await asyncio.to_thread(self._replica.segments)
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
        await self._tell_pace()

    async def _save(self) -> None:
        """Make the present state the one that a restart finds; no round may be unresolved."""
        if not self.settled:
            raise AssertionError("the stage would be lost, and with it that its work was exposed")
        folder = self._state.new_save()
        await self._trainer.save(SaveTo(str(folder)))
        position, residual = self._replica.position, self._residual
        self._known = self._known.standing_on(position.version, position.digest)
        self._words = self._tier.newest_words() or self._words
        manifest = Manifest(folder.name, position, self._known, self._words, self._pace.missed)
        await asyncio.to_thread(self._replica.sync)
        await asyncio.to_thread(self._state.commit_save, manifest, residual)
        self._residual, self._unsaved = folder / "residual.f32", False
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
        """SaveTo now and then, also while nothing is committed."""
        stage = self._round.stage
        if stage is not None and self._is_given_up(stage):
            lost = stage.plan.round
            log.warning("round %s: nobody says how it ended", lost[:8], extra={"round": lost})
            await self._end_upload()
            await self._settle(stage.plan.round, self._round.give_up())
            await self._save()
        due = self._now_s() - self._saved_at_s > SAVE_INTERVAL_S
        if due and self.begun and self.settled:
            await self._save()

    def _is_given_up(self, stage: Stage) -> bool:
        """Return whether a masked round's outcome was waited for long enough."""
        is_late = self._now_s() - self._staged_at_s > stage.patience_s(self._resolve_timeout_s)
        return stage.plan.masked and self.connected and not self._held and is_late

    async def _end_upload(self) -> None:
        if self._upload is not None:
            self._upload.give_up.set()
            await asyncio.wait((self._upload.task,))
            self._upload = None

    async def _begin(self, resume: str) -> None:
        self._anchor = await asyncio.to_thread(self._replica.segments)
        await self._trainer.tell(Begin(self._clock(), self._anchor, resume))
        self.begun = True
        await self._tell_pace()

    def _clock(self) -> Clock:
        at = self._replica.position
        return Clock(at.version, at.log.progress, at.log.counters.member_steps_256 / 256)
