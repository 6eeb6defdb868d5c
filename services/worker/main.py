"""The worker's link process: wires agent, trainer, control stream and bulk channel, and runs them.

No torch here: the learner lives in the trainer process. The link only ever dials out.
"""

import asyncio
import contextlib
import datetime
import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from common import canonical
from common.documents import PROTOCOL, TIERS, Genesis
from common.errors import ConfigError, CrosscloudError, ToldToEndError
from common.ids import Digest, RoundId, WorkerId
from common.progress import float32_bytes
from common.selftest import selftest_digest
from common.thresholds import min_cohort
from protos.v1 import session_pb2
from services import __version__
from services.config import state_owner
from services.config.genesis_file import load_genesis
from services.config.places import check_folder
from services.config.settings import WorkerSettings, load_worker
from services.disk.data_store import DataStore
from services.disk.files import keep_files_private
from services.observe import logs
from services.observe.metrics import WorkerMetrics, WorkerReport, add_health, serve
from services.observe.process_health import process_health
from services.observe.process_memory import resident_bytes
from services.observe.progress import Lines, shown
from services.process.descriptors import raise_limit
from services.process.exit_status import Exit, exit_of
from services.process.told import told_to_end, unless
from services.trust.identity import Role
from services.trust.pins import read_pins
from services.trust.signing import Signer
from services.versions.downloads import Downloads
from services.versions.replica import Replica, genesis_position
from services.wire.bulk_link import BulkLink
from services.wire.credentials import renewed_credentials
from services.wire.renewed_channel import RenewedChannel
from services.wire.traffic import TrafficCounts
from services.worker import trainer as trainer_link
from services.worker.agent import Agent
from services.worker.inbox import Inbox
from services.worker.link import EndedError, Link, dialler
from services.worker.messages import Build
from services.worker.state import StateFolder
from services.worker.trusted import PinnedMembers, agreed
from worker.rounds.attempt import MaskedMember
from worker.rounds.masked_tier import MaskedTier
from worker.rounds.pace import Turns
from worker.rounds.tls_tier import TlsTier

log = logging.getLogger(__name__)

END_S: Final = 12.0
"""How long the process may take to end when it has saved, or has not within `drain_s`."""


class Worker:
    """One link process. See the module docstring."""

    def __init__(self, settings: WorkerSettings, genesis: Genesis, metrics: WorkerMetrics) -> None:
        self._settings = settings
        self._genesis = genesis
        self._metrics = metrics
        self._tier = _tier(settings, genesis)
        self._boot = secrets.token_hex(8)
        self._inbox = Inbox(metrics)
        self._closing = threading.Event()
        credentials = renewed_credentials(settings.tls, genesis.run, Role.WORKER, settings.name)
        bulk_channel = RenewedChannel(settings.coordinator.bulk, credentials)
        self._tally = TrafficCounts()
        self._bulk = BulkLink(bulk_channel, self._closing, self._tally)
        self._downloads = Downloads(genesis, log.info, time.monotonic)
        self._state = StateFolder(settings.state_dir)
        self._store = store = DataStore(self._state.data)
        store.clean()
        self._replica = Replica(
            genesis,
            store,
            lambda digest, kind, most_bytes: self._fetch(digest, kind, store, most_bytes),
            genesis_position(genesis),
        )
        self._link = Link(
            settings.coordinator.control,
            dialler(settings.coordinator.control, credentials.read),
            join=self._join,
            heartbeat=self._heartbeat,
            inbox=self._inbox.received,
            own=credentials,
            tally=self._tally,
        )
        self._trainer: trainer_link.TrainerLink
        self._agent: Agent

    async def run(self) -> Exit:
        """Work until the run is over or a signal comes; return the exit status.

        Raises:
            CrosscloudError: it cannot begin, or cannot go on.
        """
        told = asyncio.create_task(told_to_end(self._settings.drain_s + END_S))
        try:
            async with self._trained(told):
                await unless(told, self._agent.resume())
                await self._work(told)
        except ToldToEndError:
            log.info("told to end while loading")
            self._store.clean()  # of what the trainer was about to write
            return Exit.TOLD
        except EndedError as e:
            log.log(logging.INFO if e.status is Exit.OVER else logging.ERROR, "%s", e)
            return e.status
        finally:
            told.cancel()
            self._bulk.close()
        return Exit.TOLD

    @contextlib.asynccontextmanager
    async def _trained(self, told: asyncio.Task[None]) -> AsyncIterator[None]:
        """Have a trainer and its agent."""
        starting = trainer_link.start(self._build(), self._inbox.progressed)
        with shown("building the learner", out=Lines(log.info)):
            self._trainer = await unless(told, starting)
        try:
            self._agent = self._inbox.agent = self._new_agent()
            yield
        finally:
            self._closing.set()
            await self._trainer.end()

    def _new_agent(self) -> Agent:
        return Agent(
            WorkerId(self._settings.name),
            self._genesis,
            boot=self._boot,
            state=self._state,
            replica=self._replica,
            trainer=self._trainer,
            tier=self._tier,
            push=self._push,
            send=self._link.send,
            redial=self._link.redial,
            link_bps=lambda: self._bulk.link_bps,
            metrics=self._metrics,
            now_s=time.monotonic,
            resolve_timeout_s=self._settings.resolve_timeout_s,
            turns=_turns(self._settings, self._genesis),
        )

    async def _work(self, told: asyncio.Task[None]) -> None:
        """Take part until `told`; then save and leave.

        Raises:
            EndedError: the coordinator says that this worker's part is over.
        """
        works = (self._inbox.run(), self._link.run(), self._inbox.tick(self._reported))
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(
                (*tasks, told, self._trainer.reading, self._agent.broken),
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                task.result()
            await self._finish(tasks)
            await self._link.leave("stopped by a signal")
        finally:
            for task in tasks:
                task.cancel()

    async def _finish(self, running: Sequence[asyncio.Task[None]]) -> None:
        """Save what is not in a round, after the outcome of what is, within `drain_s`."""
        log.info("told to end: saving, for at most %g s", self._settings.drain_s)
        self._inbox.finish()
        done, _ = await asyncio.wait(
            (*running, self._trainer.reading, self._agent.broken, self._agent.saved),
            timeout=self._settings.drain_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        for task in done:
            task.result()
        if not done:
            log.warning("not saved in time: a restart goes on from the last save, or its round")

    def _build(self) -> Build:
        s = self._settings
        return Build(
            genesis=replace(self._genesis, learner=s.learner or self._genesis.learner),
            name=s.name,
            data=s.data,
            device=s.device,
            num_threads=s.num_threads,
            slowdown=s.pace.slowdown,
            max_steps_per_s=s.pace.max_steps_per_s,
            order=secrets.randbits(63),
            first_version=str(self._state.data) if self._state.is_new else "",
            folders=s.folders,
        )

    async def _push(
        self,
        round_id: RoundId,
        num_shards: int,
        read_shard: Callable[[int], bytes],
        *,
        give_up: threading.Event,
    ) -> None:
        push = self._bulk.push
        await asyncio.to_thread(push, round_id, num_shards, read_shard, give_up=give_up)
        self._tally.content("sent", "update", float32_bytes(self._genesis.schema))

    def _fetch(
        self,
        digest: Digest,
        kind: Literal["aggregate", "version"],
        store: DataStore,
        most_bytes: int,
    ) -> None:
        self._bulk.fetch(digest, kind, store, most_bytes)
        self._downloads.came(digest, kind, store)
        whole = kind == "aggregate"  # it stands for a model; a version's files are float32
        content = float32_bytes(self._genesis.schema) if whole else store.size(digest)
        self._tally.content("received", kind, content)

    def _reported(self) -> None:
        if (progress := self._trainer.progress) is not None:
            self._metrics.reported(self._report(), progress.loss)

    # What it says of itself

    def _join(self) -> session_pb2.Join:
        at, progress = self._replica.position, self._trainer.progress
        return session_pb2.Join(
            protocol=PROTOCOL,
            software=__version__,
            features=TIERS,
            genesis_hash=bytes.fromhex(canonical.digest(self._genesis)),
            schema_hash=bytes.fromhex(self._trainer.ready.schema_hash),
            self_test=bytes.fromhex(selftest_digest()),
            boot=self._boot,
            version=at.version,
            digest=bytes.fromhex(at.digest),
            next_seq=at.next_seq if self._agent.begun else None,
            speed=0 if progress is None else max(0, round(progress.speed)),
            has_version=not self._agent.begun and self._replica.is_whole,
        )

    def _report(self) -> WorkerReport:
        progress = self._trainer.progress
        busy_s = 0.0 if progress is None else progress.busy_s
        idle_s = 0.0 if progress is None else progress.idle_s
        return WorkerReport(
            version=self._replica.position.version,
            steps_total=0 if progress is None else progress.steps,
            tokens_total=0 if progress is None else progress.tokens,
            pending_steps=0 if progress is None else progress.pending.steps,
            steps_per_s=0.0 if progress is None else progress.steps_per_s,
            idle_share=idle_s / (busy_s + idle_s) if busy_s + idle_s else 0.0,
            speed=0.0 if progress is None else progress.speed,
            link_bps=self._bulk.link_bps,
            bytes_sent=self._tally.wire("sent"),
            bytes_received=self._tally.wire("received"),
            float32_sent=self._tally.float32("sent"),
            float32_received=self._tally.float32("received"),
            resident_bytes=(0 if progress is None else progress.resident_bytes) + resident_bytes(),
            merges_total=self._agent.merges,
            healed_leaves_total=self._replica.healed_segments,
        )

    def _heartbeat(self) -> session_pb2.Heartbeat:
        r = self._report()
        return session_pb2.Heartbeat(
            speed=round(r.speed),
            link_bps=round(r.link_bps),
            version=r.version,
            steps_total=r.steps_total,
            tokens_total=r.tokens_total,
            pending_steps=r.pending_steps,
            steps_per_s=r.steps_per_s,
            idle_share=r.idle_share,
            bytes_sent=r.bytes_sent,
            bytes_received=r.bytes_received,
            float32_sent=r.float32_sent,
            float32_received=r.float32_received,
            resident_bytes=r.resident_bytes,
            merges_total=r.merges_total,
            healed_leaves_total=r.healed_leaves_total,
            offer_nonce=self._agent.offer_nonce,
        )


def _turns(settings: WorkerSettings, genesis: Genesis) -> Turns:
    """Return how the workers that this one's own file pins take turns; without pins, not at all."""
    if settings.trust.pins is None:
        return Turns()
    pins = read_pins(settings.trust.pins)
    own = pins.get(settings.name, ("", ""))[0]
    return Turns.of([organisation for organisation, _ in pins.values()], own, genesis.algorithm)


def _tier(settings: WorkerSettings, genesis: Genesis) -> TlsTier | MaskedTier:
    """Return what the run's privacy tier adds to a round.

    Raises:
        ConfigError: the run is weaker than this worker's own file allows.
    """
    trust, algorithm = agreed(settings.trust, genesis), genesis.algorithm
    name = WorkerId(settings.name)
    if not algorithm.masked:
        log.warning("privacy tier tls: the coordinator sees this worker's updates and losses")
        return TlsTier(name)
    if settings.trust.pins is None:
        log.warning("no pins: whoever holds the CA's key can invent members of a sum")
    if algorithm.min_cohort < min_cohort(algorithm.colluding):
        log.warning("sums of %d: each member can compute the other's update", algorithm.min_cohort)
    ca, pins = settings.tls.ca, settings.trust.pins

    def now() -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC)

    admits = PinnedMembers(genesis.run, ca, pins, now)
    operators = PinnedMembers(genesis.run, ca, settings.trust.operators, now, Role.OPERATOR)
    own = Signer(settings.tls)
    member = MaskedMember(name, algorithm, trust, admits, own.sign, secrets.token_bytes)
    ever = {"admitted": admits.ever, "operators": operators.ever}
    return MaskedTier(member, genesis, own.certificate, **ever)


def main(config: Path) -> Exit:
    """Run until the run is over or a signal; see `crosscloud worker --help`."""
    keep_files_private()
    settings = load_worker(config)
    genesis = load_genesis(settings.genesis)
    logs.configure(
        settings.log.format,
        settings.log.level,
        run=genesis.run,
        process=f"worker {settings.name}",
        worker=settings.name,
    )
    raise_limit()
    check_folder("state_dir", settings.state_dir)
    with state_owner.held(state_owner.claim_of(settings, genesis)):
        return _run(settings, genesis)


def _run(settings: WorkerSettings, genesis: Genesis) -> Exit:
    metrics = WorkerMetrics(
        run=genesis.run,
        worker=settings.name,
        software=__version__,
        tells_loss=not genesis.algorithm.masked,
    )
    add_health(metrics.registry, process_health(settings.tls, settings.state_dir))
    server = serve(metrics.registry, settings.metrics.host, settings.metrics.port)
    with contextlib.closing(server):
        try:
            return asyncio.run(Worker(settings, genesis, metrics).run())
        except ConfigError:
            raise  # a setting is to blame: the command line says which, and ends with 2
        except CrosscloudError as e:
            log.error("%s", e)
            return exit_of(e)
