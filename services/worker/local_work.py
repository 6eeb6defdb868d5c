"""A worker's own work on its machine: its trainer, its stage and saves, its residual, its replica.

    Freeze   pending work --> stage/                 Settle   contributed: the next move drops it
    Encode   stage/ --> stage/payload.bin                     spent: it leaves the parameters now
    MoveTo   parameters += head - anchor                      free: it is pending again

The *anchor* is what the parameters' local work is measured against: the base, or, once frozen work
is in a sum, the parameters as they were at close. It carries out what `worker/rounds/conduct.py`
asks for and decides nothing of a round.
"""

import asyncio
from pathlib import Path
from typing import Final

from common.checks import check_plan
from common.documents import Genesis, Plan, Record
from common.errors import BadCommitError, UnknownFileError
from common.ids import WorkerId
from services.versions.replica import Replica
from services.worker.messages import Begin, Budget, Clock, Close, Merge, Release, Return, SaveTo
from services.worker.state import Manifest, StateFolder
from services.worker.trainer import TrainerLink
from services.worker.upload import Payload, encode_payload
from worker.rounds.pace import Bounds
from worker.rounds.ports import (
    Check,
    Checked,
    Encode,
    Followed,
    FollowRecords,
    Frozen,
    MoveTo,
    Resumed,
    RetryHead,
    SaveState,
    Settle,
)
from worker.rounds.position import Position
from worker.rounds.round import Fate, Stage

_NO_ROUND: Final = "none"


class LocalWork:
    """See the module docstring.

    Attributes:
        name: of the worker.
        state, replica: what lasts.
        anchor: files of the anchor: a version's segments, or one flat file.
        residual: e, as the next encoding finds it; None, or a file that is not there, = zero.
    """

    def __init__(
        self,
        name: WorkerId,
        genesis: Genesis,
        state: StateFolder,
        replica: Replica,
        trainer: TrainerLink,
    ) -> None:
        self.name = name
        self._genesis = genesis
        self.state = state
        self.replica = replica
        self._trainer = trainer
        self.residual: Path | None = None
        self.anchor: tuple[str, ...] = ()

    def load(self) -> Resumed | None:
        """Return a former process's state, None for a newcomer.

        Raises:
            ConfigError: it is damaged.
        """
        manifest = self.state.load()
        if manifest is None:
            return None
        stage = self.state.load_stage()
        self.replica.position = manifest.position
        return Resumed(manifest.position, manifest.known, manifest.words, manifest.missed, stage)

    async def begin(self, resume: str) -> None:
        """Begin on the base, or go on from the "stage" or the "save"."""
        save, folder = self.state.save, ""
        if resume:
            self.residual = save.residual
            folder = str(save.folder if resume == "save" else self.state.stage.folder)
        self.anchor = await asyncio.to_thread(self.replica.segments)
        await self._trainer.tell(Begin(self._clock(), self.anchor, folder))

    async def set_bounds(self, bounds: Bounds) -> None:
        """Have the trainer go at a pace."""
        await self._trainer.tell(Budget(bounds.local_steps, bounds.paused, bounds.rounds_ahead))

    # A round's work -------------------------------------------------------------------------------

    async def judge(self, plan: Plan) -> str:
        """Return what no commit's plan may be; "" if it may."""
        version = await asyncio.to_thread(self.replica.version)
        try:
            check_plan(self._genesis, version, plan)
        except BadCommitError as e:
            return str(e)
        return ""

    async def freeze(self, round_id: str) -> Frozen:
        """Freeze the pending work in a new stage."""
        folder = self.state.begin_stage()
        closed = await self._trainer.close(Close(round_id, str(folder)))
        return Frozen(closed.numbers, closed.loss_2_20, closed.finite)

    async def write_stage(self, stage: Stage) -> None:
        """Make the stage durable."""
        await asyncio.to_thread(self.state.write_stage, stage)

    def encode(self, work: Encode) -> Payload:
        """Encode the frozen work. In a thread; writes only files of the stage."""
        stage = self.state.stage
        return encode_payload(
            self._genesis,
            self.replica.version(),
            work.plan,
            work.numbers,
            self.name,
            work.loss_2_20,
            own_clip=work.own_clip,
            protect=work.attempt.protect,
            read_blob=self.replica.read,
            stage=stage,
            residual=self.residual,
        )

    async def settle(self, settled: Settle) -> None:
        """Have the frozen work be what its fate says."""
        stage, fate = self.state.stage, settled.fate
        taken = (str(stage.anchor if stage.anchor.exists() else stage.theta),)
        if fate is Fate.CONTRIBUTED:
            self.anchor, self.residual = taken, stage.residual
        elif fate is Fate.SPENT:  # it leaves the parameters, and what it rounded off stays
            base, round_id = self.anchor, settled.round
            await self._trainer.merge(Merge(self._clock(), base, taken, round_id, fate.value))
            self.residual = stage.residual if stage.residual.exists() else self.residual
        else:
            await self._trainer.tell(Release(settled.round, fate.value))

    # The run's versions ---------------------------------------------------------------------------

    async def check(self, work: Check) -> Checked:
        """Check a commit's sum and step.

        Raises:
            DivergedError: the step does not give the record's digest.
        """
        try:
            await asyncio.to_thread(self.replica.check, work.commit, work.kappa)
            await asyncio.to_thread(self.replica.attempt, work.record)
        except UnknownFileError:
            return Checked(gone=True)
        except BadCommitError as e:
            return Checked(str(e))
        return Checked()

    async def start_at(self, record: Record) -> Position | None:
        """Stand on a record's version; None where it is no longer kept."""
        try:
            await asyncio.to_thread(self.replica.start_at, record)
        except UnknownFileError:
            return None
        return self.replica.position

    async def follow(self, work: FollowRecords) -> Followed:
        """Follow records to the version of the last one."""
        replica = self.replica
        moved = await asyncio.to_thread(replica.follow, work.records, work.snapshot_seq)
        return Followed(replica.position, moved)

    async def retry(self, work: RetryHead) -> Followed:
        """Stand on the version that the replica is behind, if it is kept now."""
        moved = await asyncio.to_thread(self.replica.retry, work.num_records)
        return Followed(self.replica.position, moved)

    async def move(self, move: MoveTo) -> None:
        """Move the live parameters onto the replica's version."""
        head, clock = await asyncio.to_thread(self.replica.segments), self._clock()
        if move.rolled_back:
            self.residual = None
            await self._trainer.roll_back(Return(clock, head))
        else:
            fate = Fate.CONTRIBUTED.value if move.contributed else _NO_ROUND
            await self._trainer.merge(Merge(clock, head, self.anchor, move.contributed, fate))
        self.anchor = head

    async def save(self, state: SaveState) -> None:
        """Make the present state the one that a restart finds."""
        folder = self.state.new_save()
        await self._trainer.save(SaveTo(str(folder)))
        manifest = Manifest(folder.name, state.position, state.known, state.words, state.missed)
        await asyncio.to_thread(self.replica.sync)
        await asyncio.to_thread(self.state.commit_save, manifest, self.residual)
        self.residual = self.state.save.residual
        await asyncio.to_thread(self.replica.collect)

    def forget(self) -> None:
        """Have a restart begin anew."""
        self.state.forget()

    def _clock(self) -> Clock:
        at = self.replica.position
        return Clock(at.version, at.log.progress, at.log.counters.member_steps_256 / 256)
