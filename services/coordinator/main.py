"""The control process: wires the pure run to gRPC, store, log, children and metrics, and serves.

    settings -> store and lease -> log -> core -> children -> control port -> until the run is over

It leads only while it holds the lease in the store. While the store does not answer, it waits
(`resilient_store.py`). Losing the lease to another, a child's end, or a log that another leader
wrote to ends the process: a supervisor starts the next one, which goes on from the log.
"""

import asyncio
import contextlib
import datetime
import logging
import os
import secrets
import socket
import threading
import time
from functools import partial
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common import canonical
from common.documents import Genesis
from common.errors import (
    ConfigError,
    CrosscloudError,
    ToldToEndError,
)
from common.ids import RoundId, WorkerId
from common.selftest import selftest_digest
from coordinator.plan import Timings
from coordinator.ports import Expelled, Ticked
from coordinator.status import Status
from protos.v1 import operator_pb2, operator_pb2_grpc, session_pb2, session_pb2_grpc
from services import __version__
from services.config import state_owner
from services.config.renewed import fault_of
from services.config.settings import CoordinatorSettings
from services.config.soundness import loud
from services.config.store_options import loud_options
from services.coordinator.drain import END_S
from services.coordinator.kept.files import CoordinatorFiles
from services.coordinator.kept.log_store import LogStore
from services.coordinator.kept.spool import Spool
from services.coordinator.leading import Leading
from services.coordinator.live.resilient_store import OpenStore, ResilientStore, open_store
from services.coordinator.messages import Serving
from services.coordinator.processes import spawn_children
from services.coordinator.sessions.admission import Admission
from services.coordinator.sessions.listed import listed_evaluators, listed_workers
from services.coordinator.sessions.servicers import OperatorService
from services.coordinator.sessions.streams import StreamQuota
from services.coordinator.start import begin, import_version0, listen, settle, try_ports
from services.coordinator.watch.observer import Observer
from services.coordinator.watch.own_certificate import OwnCertificate
from services.coordinator.watch.reports import Reports
from services.coordinator.watch.status import MetricsFile, StatusSource, write_result
from services.disk.files import patiently
from services.observe.metrics.coordinator import CoordinatorMetrics
from services.observe.metrics.health import add_health
from services.observe.process_health import process_health
from services.observe.prometheus import serve as serve_metrics
from services.process.descriptors import connections
from services.process.exit_status import Exit, exit_of
from services.process.told import to_its_end, told_to_end, unless
from services.trust.genuine import Genuine
from services.trust.identity import MemberList, Role
from services.trust.own import check_own
from services.wire.channels import bounded, server_options
from services.wire.child import Child
from services.wire.credentials import server_credentials
from services.wire.reflection import reflect
from services.wire.serving import Health
from services.wire.status import AioStatusInterceptor

log = logging.getLogger(__name__)

TICK_S: Final = 0.1
SLOW_S: Final = 10.0
"""Between two looks at what changes slowly."""

LINGER_S: Final = 30.0
"""How long a finished run waits for its evaluator and for the workers to take leave; one that was
over before waits so long for whoever has not heard of it."""


class Coordinator:
    """Everything of one control process that outlives a call. See the module docstring."""

    def __init__(self, settings: CoordinatorSettings, genesis: Genesis, store: OpenStore) -> None:
        self._settings = settings
        self.members = MemberList(settings.members, genesis.run)
        self.genuine = Genuine(settings.tls.ca, lambda: datetime.datetime.now(datetime.UTC))
        self.metrics = CoordinatorMetrics(
            run=genesis.run, software=__version__, tier=genesis.algorithm.tier
        )
        own = partial(check_own, settings.tls, genesis.run, (Role.COORDINATOR,))
        self._own = OwnCertificate(partial(fault_of, own))
        self._files = files = CoordinatorFiles(settings.data_dir)
        self.reports = Reports()
        self.reports.load(files.totals)
        add_health(self.metrics.registry, process_health(settings.tls, settings.data_dir))
        self._observer = Observer(self.metrics, self.reports, time.monotonic)
        self._observer.listed(self.members.members.values())
        commit_log = LogStore(files.log, canonical.digest(genesis))
        timings = settings.timings
        self._store = ResilientStore(store, timings.leader_lease_s, commit_log.ends_with_ours)
        self._ended = threading.Event()
        self.leading = Leading(
            genesis,
            name=f"{socket.gethostname()}-{os.getpid()}",
            store=self._store,
            commit_log=commit_log,
            spool=Spool(files.spool),
            snapshot_every=settings.snapshot_every,
            timings=Timings(
                lease_s=timings.worker_lease_s,
                key_timeout_s=timings.key_timeout_s,
                upload_timeout_s=timings.upload_timeout_s,
                default_grace_s=timings.first_grace_s,
                resolve_timeout_s=timings.resolve_timeout_s,
            ),
            new_round_id=lambda: RoundId(secrets.token_hex(16)),
            now_s=time.monotonic,
            unix_offset_s=time.time() - time.monotonic(),
            reports=self.reports,
            quota=StreamQuota(settings.limits.max_sessions, settings.limits.max_sessions_per_name),
            watch=self._observer.effect,
            recall=self._observer.recalled,
            admits=listed_workers(self.genuine, self.members),
            evaluators=listed_evaluators(self.genuine, self.members),
        )
        self.status = StatusSource(genesis, self.look, self.reports, self._store.outage)
        self._was_over = self.look().state == "stopped"
        self._children: tuple[Child, ...] = ()
        self._holding: asyncio.Future[None] | None = None

    def look(self) -> Status:
        """Return what people may see now."""
        return self.leading.core.status(time.monotonic())

    async def start(self, config: Path) -> None:
        """Start the children, and take the lead in the log."""
        hold = asyncio.to_thread(self._store.hold_lease, self._ended)
        self._holding = asyncio.create_task(hold)
        bulk_child, commit_child = self._children = await spawn_children(config)
        serving = await bulk_child.receive()
        assert isinstance(serving, Serving)
        await self.leading.start(bulk_child, commit_child, self._observer.answer)

    async def serve(self) -> str:
        """Serve until the run is over; return why.

        Raises:
            CrosscloudError: this process can lead no longer.
        """
        assert self._holding is not None
        loops: list[asyncio.Future[None]] = [
            asyncio.create_task(self._tick()),
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._watch_slowly()),
            self._holding,
        ]
        try:
            reason = await self.leading.finished(*loops)
            await self._linger()
            return reason
        finally:
            self._ended.set()
            self.leading.stop()
            for task in loops:
                task.cancel()

    async def end(self) -> None:
        """Let go of the lease, also where this process never came to lead; end the children."""
        self._ended.set()
        await asyncio.gather(self._held(), *(child.end() for child in self._children))

    async def _held(self) -> None:
        """Return once nobody prolongs the lease any more."""
        if self._holding is not None:
            await asyncio.wait((self._holding,))
            if not self._holding.cancelled():
                self._holding.exception()  # seen: why this process ends is known by now

    async def _linger(self) -> None:
        """Let the evaluator report the last version, and the workers leave.

        Of a run that was over before, whoever has not heard of it dials still: nobody knows who.
        """
        until_s = time.monotonic() + LINGER_S
        while time.monotonic() < until_s:
            status = self.look()
            newest = -1 if status.evaluation is None else status.evaluation.version
            expected = any(m.role is Role.EVALUATOR for m in self.members.members.values())
            is_told = newest == status.version or not expected
            if not self._was_over and not len(self.leading.sessions) and is_told:
                return
            await asyncio.sleep(TICK_S)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for name in self.members.take_removed():
                await self.leading.driver.feed(Expelled(WorkerId(name)))
                self.metrics.worker_removed(name)
                self.reports.forget(WorkerId(name))
            await self.leading.driver.feed(Ticked())

    async def _watch(self) -> None:
        """Show the status to Prometheus, and append it to metrics.jsonl: each second, and last."""
        lines = await asyncio.to_thread(patiently, MetricsFile, self._files.metrics)
        try:
            while True:
                self._observer.listed(self.members.members.values())
                self.reports.save(self._files.totals)  # before it is shown: no count ever goes back
                self._observer.status(self.look())
                lines.append(self.status.line(time.time(), self._observer.rounds.take()))
                await asyncio.sleep(1.0)
        finally:
            lines.append(self.status.line(time.time(), self._observer.rounds.take()))
            lines.close()

    async def _watch_slowly(self) -> None:
        """Ask the store how full it is, and look after this process's certificate."""
        while True:
            self._own.look()
            memory = await self._store.memory()
            if memory is None or self._store.outage():
                self.metrics.store_failed()
            else:
                self.metrics.store_answered(memory.used_bytes, memory.max_bytes)
            await asyncio.sleep(SLOW_S)


async def _serve(config: Path, settings: CoordinatorSettings, genesis: Genesis) -> Exit:
    told = asyncio.create_task(told_to_end(settings.drain_s + END_S))
    try:
        await unless(told, asyncio.to_thread(try_ports, settings))
        credentials = server_credentials(settings.tls, genesis.run)
        await unless(told, _import_version0(settings, genesis))
        async with contextlib.AsyncExitStack() as opened:
            opening = opened.enter_async_context(open_store(settings, genesis.run))
            store = await unless(told, opening)  # it may wait for it for ever
            return await _lead(config, settings, genesis, store, credentials, told)
    except ToldToEndError:
        log.info("told to end while starting")
        return Exit.TOLD
    finally:
        told.cancel()


async def _import_version0(settings: CoordinatorSettings, genesis: Genesis) -> None:
    given_up = threading.Event()
    await to_its_end(import_version0, settings, genesis, given_up, give_up=given_up.set)


async def _lead(
    config: Path,
    settings: CoordinatorSettings,
    genesis: Genesis,
    store: OpenStore,
    credentials: grpc.ServerCredentials,
    told: asyncio.Task[None],
) -> Exit:
    coordinator = Coordinator(settings, genesis, store)
    metrics = serve_metrics(
        coordinator.metrics.registry, settings.metrics.host, settings.metrics.port
    )
    server = _control_server(settings, genesis, coordinator, credentials)
    try:
        await unless(told, coordinator.start(config))
        await server.start()
        settle()
        log.info(
            "run %s: version %d, control port %d, bulk port %d, privacy tier %s",
            genesis.run,
            coordinator.look().version,
            settings.control_port,
            settings.bulk_port,
            genesis.algorithm.tier,
        )
        serving = asyncio.create_task(coordinator.serve())
        await asyncio.wait((serving, told), return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            log.info("told to end: draining for at most %g s", settings.drain_s)
            draining = asyncio.create_task(coordinator.leading.drain(settings.drain_s))
            await asyncio.wait((serving, draining), return_when=asyncio.FIRST_COMPLETED)
            draining.cancel()
        if over := serving.done():
            log.info("the run is over: %s", serving.result())
        else:
            serving.cancel()
        result = CoordinatorFiles(settings.data_dir).result
        patiently(write_result, result, coordinator.status.result())
        return Exit.OVER if over else Exit.TOLD
    finally:
        await server.stop(grace=1.0)
        await coordinator.end()
        metrics.close()


def _control_server(
    settings: CoordinatorSettings,
    genesis: Genesis,
    coordinator: Coordinator,
    credentials: grpc.ServerCredentials,
) -> grpc.aio.Server:
    server = grpc.aio.server(
        interceptors=(AioStatusInterceptor(),),
        options=(
            ("grpc.max_receive_message_length", 2**20),
            ("grpc.max_concurrent_streams", 64),
            *server_options(settings.timings.keepalive_s),
            *bounded(connections("control", settings.limits.max_connections)),
        ),
    )
    admission = Admission(
        genesis=canonical.digest(genesis),
        schema=genesis.schema.hash,
        self_test=selftest_digest(),
        tier=genesis.algorithm.tier,
        software=__version__,
        validation=genesis.validation,
    )
    session_pb2_grpc.add_SessionServicer_to_server(
        coordinator.leading.session_service(
            admission=admission,
            members=coordinator.members,
            heartbeat_interval_s=settings.timings.heartbeat_s,
            moved=coordinator.reports.carried,
        ),
        server,
    )
    operator_pb2_grpc.add_OperatorServicer_to_server(
        OperatorService(
            coordinator.leading.driver,
            genesis=canonical.digest(genesis),
            members=coordinator.members,
            genuine=coordinator.genuine,
            status=coordinator.status,
            retention=coordinator.leading.retention,
        ),
        server,
    )
    health_pb2_grpc.add_HealthServicer_to_server(Health(), server)
    if settings.reflection:
        reflect(server, session_pb2, operator_pb2, health_pb2)
    listen(server, "control_port", settings.host, settings.control_port, credentials)
    return server


def main(config: Path) -> Exit:
    """Run until the run is over or a signal; see `crosscloud coordinator --help`."""
    settings, genesis = begin(config, "coordinator")
    url = "" if settings.redis_url is None else settings.redis_url.get_secret_value()
    for sentence in (*loud(genesis.algorithm), *loud_options(url)):
        log.warning("%s", sentence)
    try:
        with state_owner.held(state_owner.claim_of(settings, genesis)):
            return asyncio.run(_serve(config, settings, genesis))
    except ConfigError:
        raise
    except CrosscloudError as e:
        log.error("%s", e)
        return exit_of(e)
