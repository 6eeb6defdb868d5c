"""The imperative shell around `worker/rounds/conduct.py`: carries its effects out, one by one.

    event --> Conduct --effect--> carried out, to its end --answer--> Conduct --> ... next event

One task feeds events, so nothing comes between a decision and what it allowed. Long work (encoding,
transfers, replaying) runs in threads; heartbeats go on elsewhere (`link.py`), and the trainer
trains. Only an upload goes on beside other events: what it has to tell comes back as one.
"""

import asyncio
import logging
from collections.abc import Callable
from threading import Event as Flag
from typing import assert_never

from common.errors import ProtocolError
from protos.v1 import session_pb2
from services.observe.metrics.worker import WorkerMetrics
from services.worker.convert import request_of
from services.worker.local_work import LocalWork
from services.worker.messages import Progress
from services.worker.upload import PushShards
from worker.rounds.conduct import Conduct
from worker.rounds.ports import (
    BeginTraining,
    Believed,
    CancelUpload,
    Check,
    Effect,
    Encode,
    Encoded,
    Event,
    Finish,
    FollowRecords,
    ForgetState,
    Freeze,
    JudgePlan,
    Message,
    MoveTo,
    Note,
    Push,
    Redial,
    Refuse,
    RetryHead,
    SaveState,
    Send,
    SetBounds,
    Settle,
    StartAt,
    Trained,
    WriteStage,
)
from worker.rounds.round import Fate

log = logging.getLogger(__name__)


class _Upload:
    """One under way: `may_push` once its stage is durable; `give_up` ends it."""

    def __init__(self) -> None:
        self.give_up = Flag()
        self.may_push = asyncio.Event()
        self.task: asyncio.Task[None]


class Driver:
    """See the module docstring.

    Args:
        put: queue an event, to be fed after those that wait.
        progress: the trainer's newest; None = it has told nothing yet.
        link_bps: measured upload speed, 0 = not measured yet.
        counts: what this process counts for its heartbeats.
        now_s: monotonic clock.

    Attributes:
        broken: fails where an upload ended by an error of ours, the first one.
        saved: done once all is saved, after `Stopped`.
        conduct, work: what decides, and what carries out what is done on this machine.
    """

    def __init__(
        self,
        conduct: Conduct,
        work: LocalWork,
        *,
        put: Callable[[Event], None],
        push: PushShards,
        send: Callable[[session_pb2.ConnectRequest], None],
        redial: Callable[[], None],
        progress: Callable[[], Progress | None],
        link_bps: Callable[[], int],
        counts: session_pb2.Heartbeat,
        metrics: WorkerMetrics,
        now_s: Callable[[], float],
    ) -> None:
        self.conduct = conduct
        self.work = work
        self._put = put
        self._push = push
        self._send = send
        self._redial = redial
        self._progress = progress
        self._link_bps = link_bps
        self._counts = counts
        self._metrics = metrics
        self._now_s = now_s
        self._upload: _Upload | None = None
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.saved: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def resume(self) -> None:
        """Go on from the state on disk, if there is one."""
        if (resumed := self.work.load()) is not None:
            await self.feed(resumed)

    async def offer(self) -> None:
        """Offer, if there is work enough."""
        if (progress := self._progress()) is not None:
            await self.feed(Trained(progress.pending, progress.speed, self._link_bps()))

    async def feed(self, event: Event) -> None:
        """Let one thing happen: carry out every effect, in order.

        Raises:
            CrosscloudError: this worker cannot go on.
        """
        steps, answer = self.conduct.handle(event, self._now_s()), None
        while True:
            try:
                effect = steps.send(answer)
            except StopIteration:
                return
            answer = await self._carry_out(effect)

    async def _carry_out(self, effect: Effect) -> object:
        began_s, answer = self._now_s(), None
        match effect:
            case Send():
                _tell_refusal(effect.message, self._metrics)
                self._send(request_of(effect.message))
            case Redial():
                self._redial()
            case JudgePlan():
                return await self.work.judge(effect.plan)
            case Freeze():
                answer = await self.work.freeze(effect.round)
                self._metrics.took("close", self._now_s() - began_s)
            case WriteStage():
                await self.work.write_stage(effect.stage)
            case Encode():
                self._begin_upload(effect)
            case Push():
                if self._upload is not None:
                    self._upload.may_push.set()
            case CancelUpload():
                await self._cancel_upload()
            case Settle():
                self._metrics.round_ended(effect.fate.value)
                await self.work.settle(effect)
                if effect.fate is Fate.CONTRIBUTED:
                    about = {"round": effect.round}
                    log.info("contributed to round %s", effect.round[:8], extra=about)
            case Check():
                return await self.work.check(effect)
            case StartAt():
                return await self.work.start_at(effect.record)
            case FollowRecords():
                return await self.work.follow(effect)
            case RetryHead():
                return await self.work.retry(effect)
            case BeginTraining():
                await self.work.begin(effect.resume)
            case SetBounds():
                await self.work.set_bounds(effect.bounds)
            case MoveTo():
                if effect.rolled_back:
                    version = effect.position.version
                    log.warning("rolled back: version %d, without local work", version)
                await self.work.move(effect)
                self._metrics.took("merge", self._now_s() - began_s)
                self._counts.merges_total += 1
            case SaveState():
                await self.work.save(effect)
            case ForgetState():
                self.work.forget()
            case Finish():
                self.saved.set_result(None)
            case Note():
                level = logging.WARNING if effect.is_warning else logging.INFO
                log.log(level, "%s", effect.sentence, extra={"round": effect.round or None})
            case Believed():
                self._metrics.took("words", effect.after_s)
            case _:
                assert_never(effect)
        return answer

    @property
    def uploading(self) -> asyncio.Task[None] | None:
        """The newest upload, which may have ended; None where its round has, or there was none."""
        return None if self._upload is None else self._upload.task

    # Uploads --------------------------------------------------------------------------------------

    def _begin_upload(self, work: Encode) -> None:
        self._upload = upload = _Upload()
        upload.task = asyncio.create_task(self._encode_and_push(work, upload))
        upload.task.add_done_callback(self._on_uploaded)

    async def _encode_and_push(self, work: Encode, upload: _Upload) -> None:
        """Encode the frozen work and send it; the last byte of the stage is durable before."""
        began_s, round_id = self._now_s(), work.plan.round
        with await asyncio.to_thread(self.work.encode, work) as payload:
            self._metrics.took("encode", self._now_s() - began_s)
            self._put(Encoded(round_id))
            await upload.may_push.wait()
            if upload.give_up.is_set():  # it may be settled by now: no byte of it may be sent
                return
            began_s, num_shards = self._now_s(), payload.layout.num_shards
            await self._push(round_id, num_shards, payload.read_shard, give_up=upload.give_up)
            self._metrics.took("upload", self._now_s() - began_s)

    def _on_uploaded(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (e := task.exception()) is not None:
            log.warning("upload ended: %s", e)
            if not isinstance(e, ProtocolError) and not self.broken.done():
                self.broken.set_exception(e)

    async def _cancel_upload(self) -> None:
        if (upload := self._upload) is not None:
            upload.give_up.set()
            upload.may_push.set()
            await asyncio.wait((upload.task,))
            self._upload = None


def _tell_refusal(message: Message, metrics: WorkerMetrics) -> None:
    if isinstance(message, Refuse):
        by = f"by rule {message.rule}, {message.rule.sentence}"
        said = f"refused round {message.round[:8]} {by}: {message.sentence}"
        log.warning("%s", said, extra={"round": message.round})
        metrics.round_ended("refused")
        metrics.refused(message.rule)
