"""The control process: wires the pure run to gRPC, store, log, children and metrics, and serves.

    settings -> store and lease -> log -> core -> children -> control port -> until the run is over

It leads only while it holds the lease in the store. While the store does not answer, it waits
(`steady_store.py`). Losing the lease to another, a child's end, or a log that another leader wrote
to ends the process: a supervisor starts the next one, which goes on from the log.
"""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2_grpc

from common import canonical
from common.documents import Genesis, Record
from common.errors import ProtocolError, StorageError, UnknownFileError
from common.ids import RoundId, SessionId, WorkerId
from common.selftest import selftest_digest
from coordinator.head import RunHead
from coordinator.plan import Timings
from coordinator.ports import (
    Compute,
    DropSpool,
    Event,
    Expelled,
    Message,
    OpenSpool,
    RestoreFailed,
    Seal,
    Ticked,
)
from coordinator.round import Phase
from coordinator.run import Run
from protos.v1 import operator_pb2_grpc, session_pb2_grpc
from services import __version__
from services.channels import server_options
from services.child import ChildEndedError
from services.coordinator import convert
from services.coordinator.admission import Admission
from services.coordinator.control import OperatorService, SessionService
from services.coordinator.drain import drain
from services.coordinator.driver import Driver
from services.coordinator.keeping import Keeping
from services.coordinator.log_store import LogStore
from services.coordinator.messages import Serving
from services.coordinator.observer import Observer
from services.coordinator.processes import Processes, spawn_children
from services.coordinator.reports import Reports
from services.coordinator.sessions import Door, LogTail, Sessions
from services.coordinator.start import begin, import_version0
from services.coordinator.status import StatusSource, write_result
from services.coordinator.steady_store import OpenStore, SteadyStore, open_store
from services.grpc_status import AioStatusInterceptor
from services.health import Health
from services.identity import MemberList, Role
from services.metrics import CoordinatorMetrics
from services.metrics import serve as serve_metrics
from services.settings import CoordinatorSettings
from services.tls import server_credentials

log = logging.getLogger(__name__)

TICK_S: Final = 0.1
NO_ROUND: Final = Phase.COLLECTING_OFFERS.value
LINGER_S: Final = 30.0
"""How long a finished run waits for its evaluator and for the workers to take leave."""


class Coordinator:
    """Everything of one control process that outlives a call. See the module docstring."""

    def __init__(self, settings: CoordinatorSettings, genesis: Genesis, store: OpenStore) -> None:
        self._settings = settings
        self._genesis = genesis
        self._leader = f"{socket.gethostname()}-{os.getpid()}"
        self.members = MemberList(settings.members, genesis.run)
        self.sessions = Sessions()
        self.door = Door(settings.limits.max_sessions, settings.limits.max_sessions_per_name)
        self.reports = Reports()
        self.metrics = CoordinatorMetrics(
            run=genesis.run, software=__version__, tier=genesis.algorithm.tier
        )
        self._observer = Observer(self.metrics, self.reports, time.monotonic)
        self._log = LogStore(settings.data_dir / "log", canonical.digest(genesis))
        self._store = SteadyStore(store, settings.timings.leader_lease_s, self._log.ends_with_ours)
        self._ended = threading.Event()
        self.keeping = Keeping(genesis.version0, settings.snapshot_every)
        self.core = Run(
            genesis,
            head=self._fold_log(),
            leader=self._leader,
            new_round_id=lambda: RoundId(secrets.token_hex(16)),
            unix_offset_s=time.time() - time.monotonic(),
            timings=Timings(
                lease_s=settings.timings.worker_lease_s,
                key_timeout_s=settings.timings.key_timeout_s,
                upload_timeout_s=settings.timings.upload_timeout_s,
                default_grace_s=settings.timings.first_grace_s,
            ),
        )
        self.tail = LogTail(self._log.num_records, self._log.read, self.keeping.start_seq)
        self.driver = Driver(
            self.core,
            store=self._store,
            commit_log=self._log,
            works=self,
            now_s=time.monotonic,
            watch=self._observer.effect,
        )
        self.status = StatusSource(
            genesis,
            lambda: self.core.status(time.monotonic()),
            self.reports,
            self._store.outage,
        )
        self._processes: Processes | None = None
        self._holding: asyncio.Future[None] | None = None
        self._late: asyncio.Task[None] | None = None

    def _fold_log(self) -> RunHead:
        """Check the log and return what follows from it."""
        self._log.load()
        head = RunHead.of(self._genesis)
        for content in self._log.records():
            record = canonical.decode(content, Record)
            head = head.after(record)
            self.keeping.recorded(record)
        return head

    # What the driver asks for

    async def to_bulk(self, effect: OpenSpool | Seal | DropSpool) -> None:
        """Hand over to the bulk process."""
        assert self._processes is not None
        await self._processes.to_bulk(effect)

    async def to_commit(self, effect: Compute) -> None:
        """Hand over to the commit process."""
        assert self._processes is not None
        await self._processes.to_commit(effect)

    async def restore(self, version: int) -> None:
        """Have the commit process make an earlier version whole."""
        assert self._processes is not None
        try:
            order = self.keeping.restoring(version, self._log.commit)
        except UnknownFileError as e:  # the round that was open has committed meanwhile
            failed = RestoreFailed(version, str(e))
            self._late = asyncio.create_task(self.feed_late(failed))  # once the driver is free
        else:
            await self._processes.to_commit(order)

    async def send(self, session: SessionId, message: Message) -> None:
        """Queue for one session."""
        self.sessions.send(session, convert.response_of(message), last=convert.is_last(message))

    async def publish(self, record: Record) -> None:
        """Let every follower of the log know; then delete what nobody needs any more."""
        made = self.keeping.recorded(record)
        await self.tail.grow(record.seq + 1, self.keeping.start_seq)
        self.sessions.wake()
        if made and self._processes is not None:
            await self._store.apply(())  # a deposed leader must not delete a newer one's files
            await self._processes.to_commit(self.keeping.collect())

    # The life of the process

    async def start(self, config: Path) -> None:
        """Start the children, and take the lead in the log."""
        hold = asyncio.to_thread(self._store.hold_lease, self._ended)
        self._holding = asyncio.create_task(hold)
        bulk_child, commit_child = await spawn_children(config)
        serving = await bulk_child.receive()
        assert isinstance(serving, Serving)
        self._processes = Processes(bulk_child, commit_child, self.feed_late, self._observer.answer)
        found = await self._store.load()
        await self.driver.carry_out(self.core.start(time.monotonic(), found))

    async def feed_late(self, event: Event) -> None:
        """Feed what may come after its round is over, which is no error."""
        try:
            await self.driver.feed(event)
        except ProtocolError as e:
            log.info("too late: %s", e)

    async def serve(self) -> str:
        """Serve until the run is over; return why.

        Raises:
            CrosscloudError: this process can lead no longer.
        """
        assert self._processes is not None
        assert self._holding is not None
        loops: list[asyncio.Future[None]] = [
            asyncio.create_task(self._processes.run()),
            asyncio.create_task(self._tick()),
            asyncio.create_task(self._watch()),
            self._holding,
        ]
        try:
            waited: list[asyncio.Future[Any]] = [self.driver.finished, *loops]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for task in waited:
                if task.done():
                    task.result()
            self.driver.finished.result()
            await self._linger()
            return self.driver.finished.result()
        finally:
            self._ended.set()
            for task in loops:
                task.cancel()

    async def drain(self) -> None:
        """End on purpose; see `services/coordinator/drain.py`."""
        assert self._processes is not None
        await drain(
            self._settings.drain_s,
            door=self.door,
            sessions=self.sessions,
            feed=self.feed_late,
            streams_end=self._processes.drain,
            round_is_open=lambda: self.core.status(time.monotonic()).phase != NO_ROUND,
        )

    async def end(self) -> None:
        """Let go of the lease, also where this process never came to lead; end the children."""
        self._ended.set()
        if self._holding is not None:
            await asyncio.wait((self._holding,))
            if not self._holding.cancelled():
                self._holding.exception()  # seen: why this process ends is known by now
        if self._processes is not None:
            await self._processes.end()

    async def _linger(self) -> None:
        """Let the evaluator report the last version, and the workers leave."""
        until_s = time.monotonic() + LINGER_S
        while time.monotonic() < until_s:
            status = self.core.status(time.monotonic())
            newest = -1 if status.evaluation is None else status.evaluation.version
            expected = any(m.role is Role.EVALUATOR for m in self.members.members.values())
            if not len(self.sessions) and (newest == status.version or not expected):
                return
            await asyncio.sleep(TICK_S)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for name in self.members.take_removed():
                await self.driver.feed(Expelled(WorkerId(name)))
                self.metrics.worker_removed(name)
                self.reports.forget(WorkerId(name))
            await self.driver.feed(Ticked())

    async def _watch(self) -> None:
        """Show the status to Prometheus and append it to metrics.jsonl, once a second."""
        with (self._settings.data_dir / "metrics.jsonl").open("a") as lines:
            while True:
                self._observer.status(self.core.status(time.monotonic()))
                with contextlib.suppress(OSError):  # a full disk: the log is what must not fail
                    lines.write(json.dumps(self.status.line(time.time())) + "\n")
                    lines.flush()
                await asyncio.sleep(1.0)


async def _serve(config: Path) -> int:
    settings, genesis = begin(config, "coordinator")
    credentials = server_credentials(settings.tls, genesis.run)
    await asyncio.to_thread(import_version0, settings, genesis)
    async with open_store(settings, genesis.run) as store:
        coordinator = Coordinator(settings, genesis, store)
        stopping = asyncio.create_task(_signalled())
        metrics = serve_metrics(
            coordinator.metrics.registry, settings.metrics.host, settings.metrics.port
        )
        server = _control_server(settings, genesis, coordinator, credentials)
        try:
            await coordinator.start(config)
            await server.start()
            log.info(
                "run %s: version %d, control port %d, bulk port %d, privacy tier %s",
                genesis.run,
                coordinator.core.status(time.monotonic()).version,
                settings.control_port,
                settings.bulk_port,
                genesis.algorithm.tier,
            )
            serving = asyncio.create_task(coordinator.serve())
            await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                log.info("told to end: draining for at most %g s", settings.drain_s)
                draining = asyncio.create_task(coordinator.drain())
                await asyncio.wait((serving, draining), return_when=asyncio.FIRST_COMPLETED)
                draining.cancel()
            if serving.done():
                log.info("the run is over: %s", serving.result())
            else:
                serving.cancel()
            write_result(settings.data_dir / "result.json", coordinator.status.result())
        finally:
            await server.stop(grace=1.0)
            await coordinator.end()
            metrics.close()
    return 0


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
        ),
    )
    admission = Admission(
        genesis=canonical.digest(genesis),
        schema=genesis.schema.hash,
        self_test=selftest_digest(),
        tier=genesis.algorithm.tier,
        software=__version__,
    )
    session_pb2_grpc.add_SessionServicer_to_server(
        SessionService(
            coordinator.driver,
            admission=admission,
            members=coordinator.members,
            sessions=coordinator.sessions,
            reports=coordinator.reports,
            tail=coordinator.tail,
            heartbeat_interval_s=settings.timings.heartbeat_s,
            lease_s=settings.timings.worker_lease_s,
            door=coordinator.door,
        ),
        server,
    )
    operator_pb2_grpc.add_OperatorServicer_to_server(
        OperatorService(
            coordinator.driver,
            members=coordinator.members,
            status=coordinator.status,
            keeping=coordinator.keeping,
        ),
        server,
    )
    health_pb2_grpc.add_HealthServicer_to_server(Health(), server)
    server.add_secure_port(f"{settings.host}:{settings.control_port}", credentials)
    return server


async def _signalled() -> None:
    """Return at SIGTERM or SIGINT."""
    event = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    await event.wait()


def main(config: Path) -> int:
    """Run until the run is over or a signal; see `crosscloud coordinator --help`."""
    try:
        return asyncio.run(_serve(config))
    except (ChildEndedError, StorageError) as e:
        log.error("%s", e)
        return 1
