"""One worker of a run: machine, driver, disk, replica and link, wired together.

All of a worker but what is outside it: the trainer's process, the network, the clock and the
settings are given to it. `main.py` puts it between gRPC and a trainer process, the simulation into
virtual time, and tests where no coordinator is.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import grpc

from common import canonical
from common.documents import PROTOCOL, TIERS, Genesis
from common.ids import Digest, WorkerId
from common.selftest import selftest_digest
from protos.v1 import session_pb2
from services import __version__
from services.config.renewed import Renewed
from services.disk.data_store import DataStore
from services.observe.metrics.worker import WorkerMetrics
from services.versions.replica import Replica
from services.wire.traffic import TrafficCounts
from services.worker.driver import Driver
from services.worker.inbox import Inbox
from services.worker.link import Dial, Link
from services.worker.local_work import LocalWork
from services.worker.state import StateFolder
from services.worker.trainer import TrainerLink
from services.worker.upload import PushShards
from worker.rounds.conduct import Conduct
from worker.rounds.pace import Turns
from worker.rounds.position import genesis_position
from worker.rounds.tier import Tier

log = logging.getLogger(__name__)

Fetch = Callable[[Digest, Literal["aggregate", "version"], DataStore, int], None]
"""Download one file of at most so many bytes into a store; UnknownFileError: no longer kept."""


def _new_nonce() -> str:
    return secrets.token_hex(16)


class Working:
    """See the module docstring.

    Args:
        boot: names this process.
        root: its state folder.
        target: the coordinator's control port, for messages.
        dial: opens a control stream.
        own: what `dial` shows of us, to be looked at where it fails.
        push: uploads a payload.
        link_bps: measured upload speed, bit/s; 0 = not measured yet.
        now_s: monotonic clock.
        resolve_timeout_s: a round's outcome is waited for at most so long.
        resident_bytes: of this process; the trainer tells its own.
        new_nonce: draws an offer's.
    """

    def __init__(
        self,
        name: WorkerId,
        genesis: Genesis,
        *,
        boot: str,
        root: Path,
        target: str,
        dial: Dial,
        own: Renewed[grpc.ChannelCredentials] | None = None,
        tier: Tier,
        fetch: Fetch,
        push: PushShards,
        link_bps: Callable[[], int] = lambda: 0,
        metrics: WorkerMetrics,
        tally: TrafficCounts,
        now_s: Callable[[], float],
        resolve_timeout_s: float,
        turns: Turns = Turns(),  # noqa: B008 - frozen
        resident_bytes: Callable[[], int] = lambda: 0,
        new_nonce: Callable[[], str] = _new_nonce,
    ) -> None:
        self._name = name
        self._genesis = genesis
        self._boot = boot
        self._push = push
        self._link_bps = link_bps
        self.metrics = metrics
        self._tally = tally
        self._counts = session_pb2.Heartbeat()
        self._now_s = now_s
        self._resident_bytes = resident_bytes
        self.state = StateFolder(root)
        self.store = store = DataStore(self.state.data)
        store.clean()
        start = genesis_position(genesis)
        self.replica = Replica(
            genesis, store, lambda digest, kind, most: fetch(digest, kind, store, most), start
        )
        self.conduct = Conduct(
            name,
            genesis,
            boot=boot,
            tier=tier,
            new_nonce=new_nonce,
            position=start,
            resolve_timeout_s=resolve_timeout_s,
            now_s=now_s(),
            turns=turns,
        )
        self.inbox = Inbox(metrics)
        self.link = Link(
            target,
            dial,
            join=self._join,
            heartbeat=self.heartbeat,
            inbox=self.inbox.received,
            own=own,
            tally=tally,
        )
        self.trainer: TrainerLink
        self.driver: Driver

    async def begin(self, trainer: TrainerLink) -> None:
        """Take the trainer, and go on from the state on disk, if there is one.

        Raises:
            CrosscloudError: it cannot.
        """
        self.trainer = trainer
        self.driver = Driver(
            self.conduct,
            LocalWork(self._name, self._genesis, self.state, self.replica, trainer),
            put=self.inbox.put,
            push=self._push,
            send=self.link.send,
            redial=self.link.redial,
            progress=lambda: trainer.progress,
            link_bps=self._link_bps,
            counts=self._counts,
            metrics=self.metrics,
            now_s=self._now_s,
        )
        await self.driver.resume()

    async def run(self, told: "asyncio.Future[None]", drain_s: float) -> None:
        """Take part until `told`; then save, for at most `drain_s`, and leave.

        Raises:
            EndedError: the coordinator says that this worker's part is over.
            CrosscloudError: it cannot go on.
        """
        works = (self.inbox.run(self.driver), self.link.run(), self.inbox.tick(self._ticked))
        tasks = [asyncio.create_task(work) for work in works]
        ends = (*tasks, self.trainer.reading, self.driver.broken)
        try:
            done, _ = await asyncio.wait((*ends, told), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            log.info("told to end: saving, for at most %g s", drain_s)
            self.inbox.stop()
            done, _ = await asyncio.wait(
                (*ends, self.driver.saved),
                timeout=drain_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                task.result()
            if not done:
                log.warning("not saved in time: a restart goes on from the last save, or its round")
            await self.link.leave("stopped by a signal")
        finally:
            for task in tasks:
                task.cancel()

    def _ticked(self) -> None:
        if (progress := self.trainer.progress) is not None:
            self.metrics.reported(self.heartbeat(), progress.loss)

    # What it says of itself -----------------------------------------------------------------------

    def _join(self) -> session_pb2.Join:
        at, progress, begun = self.conduct.position, self.trainer.progress, self.conduct.begun
        return session_pb2.Join(
            protocol=PROTOCOL,
            software=__version__,
            features=TIERS,
            genesis_hash=bytes.fromhex(canonical.digest(self._genesis)),
            schema_hash=bytes.fromhex(self.trainer.ready.schema_hash),
            self_test=bytes.fromhex(selftest_digest()),
            boot=self._boot,
            version=at.version,
            digest=bytes.fromhex(at.digest),
            next_seq=at.next_seq if begun else None,
            speed=0 if progress is None else max(0, round(progress.speed)),
            has_version=not begun and self.replica.is_whole,
        )

    def heartbeat(self) -> session_pb2.Heartbeat:
        """Return what there is to tell, to the coordinator and on its own page."""
        said = session_pb2.Heartbeat(
            link_bps=round(self._link_bps()),
            version=self.conduct.position.version,
            bytes_sent=self._tally.wire("sent"),
            bytes_received=self._tally.wire("received"),
            float32_sent=self._tally.float32("sent"),
            float32_received=self._tally.float32("received"),
            resident_bytes=self._resident_bytes(),
            healed_segments_total=self.replica.healed_segments,
            offer_nonce=self.conduct.offer_nonce,
        )
        if (progress := self.trainer.progress) is not None:
            busy_s, idle_s = progress.busy_s, progress.idle_s
            said.speed = round(progress.speed)
            said.steps_total = progress.steps
            said.tokens_total = progress.tokens
            said.pending_steps = progress.pending.steps
            said.steps_per_s = progress.steps_per_s
            said.idle_share = idle_s / (busy_s + idle_s) if busy_s + idle_s else 0.0
            said.resident_bytes += progress.resident_bytes
        said.MergeFrom(self._counts)
        return said
