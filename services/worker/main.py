"""The worker's link process: puts `Working` between gRPC and a trainer process, and runs it.

No torch here: the learner lives in the trainer process. The link only ever dials out.
"""

import asyncio
import contextlib
import datetime
import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from common.documents import Genesis
from common.errors import ConfigError, CrosscloudError, ToldToEndError
from common.ids import Digest, RoundId, WorkerId
from common.progress import float32_bytes
from common.thresholds import min_cohort
from services import __version__
from services.config import state_owner
from services.config.genesis_file import load_genesis
from services.config.places import check_folder
from services.config.settings import WorkerSettings, load_worker
from services.disk.data_store import DataStore
from services.disk.files import keep_files_private
from services.observe import logs
from services.observe.metrics.health import add_health
from services.observe.metrics.worker import WorkerMetrics
from services.observe.process_health import process_health
from services.observe.process_memory import resident_bytes
from services.observe.progress import Lines, shown
from services.observe.prometheus import serve
from services.process.descriptors import raise_limit
from services.process.exit_status import Exit, exit_of
from services.process.told import told_to_end, unless
from services.trust.identity import Role
from services.trust.pins import read_pins
from services.trust.signing import Signer
from services.versions.downloads import Downloads
from services.wire.bulk_link import BulkLink
from services.wire.credentials import renewed_credentials
from services.wire.renewed_channel import RenewedChannel
from services.wire.traffic import TrafficCounts
from services.worker import trainer as trainer_link
from services.worker.link import EndedError, dialler
from services.worker.messages import Build
from services.worker.trainer import TrainerLink
from services.worker.trusted import PinnedMembers, agreed
from services.worker.working import Working
from worker.rounds.attempt import MaskedMember
from worker.rounds.masked_tier import MaskedTier
from worker.rounds.pace import Turns
from worker.rounds.tier import Tier
from worker.rounds.tls_tier import TlsTier

log = logging.getLogger(__name__)

END_S: Final = 12.0
"""How long the process may take to end when it has saved, or has not within `drain_s`."""


class Worker:
    """One link process. See the module docstring."""

    def __init__(self, settings: WorkerSettings, genesis: Genesis, metrics: WorkerMetrics) -> None:
        self._settings = settings
        self._genesis = genesis
        self._closing = threading.Event()
        credentials = renewed_credentials(settings.tls, genesis.run, Role.WORKER, settings.name)
        bulk_channel = RenewedChannel(settings.coordinator.bulk, credentials)
        self._tally = TrafficCounts()
        self._bulk = BulkLink(bulk_channel, self._closing, self._tally)
        self._downloads = Downloads(genesis, log.info, time.monotonic)
        self._working = Working(
            WorkerId(settings.name),
            genesis,
            boot=secrets.token_hex(8),
            root=settings.state_dir,
            target=settings.coordinator.control,
            dial=dialler(settings.coordinator.control, credentials.read),
            own=credentials,
            tier=_tier(settings, genesis),
            fetch=self._fetch,
            push=self._push,
            link_bps=lambda: self._bulk.link_bps,
            metrics=metrics,
            tally=self._tally,
            now_s=time.monotonic,
            resolve_timeout_s=settings.resolve_timeout_s,
            turns=_turns(settings, genesis),
            resident_bytes=resident_bytes,
        )

    async def run(self) -> Exit:
        """Work until the run is over or a signal comes; return the exit status.

        Raises:
            CrosscloudError: it cannot begin, or cannot go on.
        """
        working, drain_s = self._working, self._settings.drain_s
        told = asyncio.create_task(told_to_end(drain_s + END_S))
        try:
            async with self._trained(told) as trainer:
                await unless(told, working.begin(trainer))
                await working.run(told, drain_s)
        except ToldToEndError:
            log.info("told to end while loading")
            working.store.clean()  # of what the trainer was about to write
            return Exit.TOLD
        except EndedError as e:
            log.log(logging.INFO if e.status is Exit.OVER else logging.ERROR, "%s", e)
            return e.status
        finally:
            told.cancel()
            self._bulk.close()
        return Exit.TOLD

    @contextlib.asynccontextmanager
    async def _trained(self, told: asyncio.Task[None]) -> AsyncIterator[TrainerLink]:
        """Have a trainer."""
        starting = trainer_link.start(self._build(), self._working.inbox.progressed)
        with shown("building the learner", out=Lines(log.info)):
            trainer = await unless(told, starting)
        try:
            yield trainer
        finally:
            self._closing.set()
            await trainer.end()

    def _build(self) -> Build:
        s, state = self._settings, self._working.state
        return Build(
            genesis=replace(self._genesis, learner=s.learner or self._genesis.learner),
            name=s.name,
            data=s.data,
            device=s.device,
            num_threads=s.num_threads,
            slowdown=s.pace.slowdown,
            max_steps_per_s=s.pace.max_steps_per_s,
            order=secrets.randbits(63),
            first_version=str(state.data) if state.is_new else "",
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


def _turns(settings: WorkerSettings, genesis: Genesis) -> Turns:
    """Return how the workers that this one's own file pins take turns; without pins, not at all."""
    if settings.trust.pins is None:
        return Turns()
    pins = read_pins(settings.trust.pins)
    own = pins.get(settings.name, ("", ""))[0]
    return Turns.of([organisation for organisation, _ in pins.values()], own, genesis.algorithm)


def _tier(settings: WorkerSettings, genesis: Genesis) -> Tier:
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
