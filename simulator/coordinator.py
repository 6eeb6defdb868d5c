"""A coordinator in virtual time: the real core, driver, log, spool, commit and session service.

`services.coordinator.leading` as it is, with the children as tasks of the same host: what kills one
of them ends the coordinator anyway. Only processes, network, store and clock are not real.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, TypeVar, cast

import grpc
from typing_extensions import override

from common import canonical
from common.documents import Genesis, Record
from common.errors import CrosscloudError
from common.ids import Digest, RoundId, SessionId, WorkerId
from common.selftest import selftest_digest
from common.terms import round_layout
from coordinator.plan import Timings
from coordinator.ports import (
    Compute,
    DropSpool,
    Effect,
    Message,
    OpenSpool,
    Seal,
    Sealed,
    SpoolOpened,
    Ticked,
)
from coordinator.run import Run
from protos.v1 import bulk_pb2, operator_pb2
from services import __version__
from services.coordinator.bulk import BulkService, Outbox
from services.coordinator.commit import Computer
from services.coordinator.driver import Driver
from services.coordinator.kept.files import CoordinatorFiles
from services.coordinator.kept.log_store import LogStore
from services.coordinator.kept.spool import Spool
from services.coordinator.leading import Leading
from services.coordinator.live.resilient_store import OpenStore, ResilientStore, wait_for_lease
from services.coordinator.live.store import Changes
from services.coordinator.sessions.admission import Admission
from services.coordinator.sessions.servicers import OperatorService
from services.coordinator.sessions.streams import LogTail, Sessions, StreamQuota
from services.coordinator.watch.reports import Reports
from services.coordinator.watch.status import StatusSource
from services.disk.data_store import DataStore
from services.wire import framing
from services.wire.child import ChildEndedError
from simulator.host import Host, happens
from simulator.identities import identities
from simulator.memory_store import MemoryServer, MemoryStore
from simulator.network import ControlStream
from simulator.runs import TIMINGS

_T = TypeVar("_T")

TICK_S: Final = 0.25
LEASE_S: Final = 1.5
HEARTBEAT_S: Final = 1.0
COMMIT_S: Final = (0.05, 0.5)
"""Fewest and most seconds that computing a version takes."""
SNAPSHOT_EVERY: Final = 2


class _Store(MemoryStore):
    """Every change is an act before and after."""

    @override
    async def apply(self, changes: Changes) -> None:
        happens("save")
        await asyncio.sleep(0)
        await super().apply(changes)
        happens("saved")
        await asyncio.sleep(0)


class _Inline(Executor):
    """Works at once: there are no threads in virtual time."""

    @override
    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        done: Future[_T] = Future()
        done.set_result(fn(*args, **kwargs))
        return done

    @override
    def map(self, fn: Callable[..., _T], *iterables: Iterable[Any], **_: Any) -> Iterator[_T]:
        return map(fn, *iterables)


class _Child:
    """`services.wire.child.Child` without a process: `work` answers each order, or None."""

    def __init__(self, name: str, work: Callable[[object], object | None]) -> None:
        self._name = name
        self._work = work
        self._orders: asyncio.Queue[object] = asyncio.Queue()
        self._answers: asyncio.Queue[object] = asyncio.Queue()

    async def send(self, order: object) -> None:
        happens(f"order {type(order).__name__}")
        await asyncio.sleep(0)
        self._orders.put_nowait(order)

    def answer(self, message: object) -> None:
        self._answers.put_nowait(message)

    async def receive(self) -> object:
        answer = await self._answers.get()
        happens(f"heard {type(answer).__name__}")
        await asyncio.sleep(0)
        if isinstance(answer, CrosscloudError):
            raise ChildEndedError(f"{self._name} ended: {answer}")
        return answer

    async def run(self, lag_s: float) -> None:
        while True:
            order = await self._orders.get()
            if isinstance(order, Compute):
                await asyncio.sleep(lag_s)
            try:
                answer = await asyncio.to_thread(self._work, order)
            except CrosscloudError as e:
                answer = e
            if answer is not None:
                self.answer(answer)


class _Leading(Leading):
    """A leader of whom every message and every publication is an act before."""

    @override
    async def send(self, session: SessionId, message: Message) -> None:
        happens(f"send {type(message).__name__}")
        await asyncio.sleep(0)
        await super().send(session, message)

    @override
    async def publish(self, record: Record) -> None:
        happens("publish")
        await asyncio.sleep(0)
        await super().publish(record)


class SimulatedCoordinator:
    """One process life of a coordinator; see the module docstring."""

    def __init__(
        self,
        genesis: Genesis,
        *,
        host: Host,
        root: Path,
        server: MemoryServer,
        rng: random.Random,
        serving: Callable[["SimulatedCoordinator"], None],
        watch: Callable[["SimulatedCoordinator", Effect], None],
        timings: Timings = TIMINGS,
        commit_s: tuple[float, float] = COMMIT_S,
    ) -> None:
        self.host = host
        self._genesis = genesis
        self._rng = rng
        self._serving = serving
        self._watch = watch
        self._timings = timings
        self._commit_s = commit_s
        self._now_s = asyncio.get_running_loop().time
        self._store = _Store(server, host.name, self._now_s)
        self._files = CoordinatorFiles(root)
        self._spool = Spool(self._files.spool)
        self._data = DataStore(self._files.data)
        self.core: Run
        self.driver: Driver
        self.tail: LogTail
        self.sessions: Sessions

    async def run(self) -> None:
        """Wait for the lease, take the lead, and serve until it is lost or the run is over."""
        await wait_for_lease(self._store, LEASE_S)
        commit_log = LogStore(self._files.log, canonical.digest(self._genesis))
        opened = OpenStore(self._store, revive=lambda: None)
        resilient = ResilientStore(opened, LEASE_S, commit_log.ends_with_ours, now_s=self._now_s)
        leading = _Leading(
            self._genesis,
            name=self.host.name,
            store=resilient,
            commit_log=commit_log,
            spool=Spool(self._files.spool),
            snapshot_every=SNAPSHOT_EVERY,
            timings=self._timings,
            new_round_id=lambda: RoundId(f"{self._rng.getrandbits(128):032x}"),
            now_s=self._now_s,
            unix_offset_s=0.0,
            reports=Reports(),
            quota=StreamQuota(),
            watch=lambda effect, _: self._watch(self, effect),
            recall=lambda _: None,
            admits=identities().admits,
            evaluators=identities().evaluators,
        )
        self.core, self.driver = leading.core, leading.driver
        self.tail, self.sessions = leading.tail, leading.sessions
        computer = Computer(self._genesis, Spool(self._files.spool), self._data, _Inline())
        bulk = _Child("bulk", self._bulk_order)
        commit = _Child("commit", computer.work)
        admission = Admission(
            genesis=canonical.digest(self._genesis),
            schema=self._genesis.schema.hash,
            self_test=selftest_digest(),
            tier=self._genesis.algorithm.tier,
            software=__version__,
        )
        members = identities().listed
        self._service = leading.session_service(
            admission=admission,
            members=members,
            heartbeat_interval_s=HEARTBEAT_S,
        )
        status = cast("StatusSource", None)  # nobody asks for it
        self._operator = OperatorService(
            self.driver,
            genesis=canonical.digest(self._genesis),
            members=members,
            genuine=identities().genuine,
            status=status,
            retention=leading.retention,
        )
        self._retention = leading.retention
        outbox = Outbox(cast("Any", SimpleNamespace(send=bulk.answer)))
        self._uploads = BulkService(self._spool, self._data, members, outbox)
        tasks = [
            asyncio.create_task(bulk.run(0.0)),
            asyncio.create_task(commit.run(self._rng.uniform(*self._commit_s))),
        ]
        await leading.start(bulk, commit, lambda _: None)
        self._serving(self)
        tasks.append(asyncio.create_task(self._tick(leading.driver)))
        tasks.append(asyncio.create_task(self._hold_lease(resilient)))
        try:
            await leading.finished(*tasks)
        finally:
            leading.stop()
            for task in tasks:
                task.cancel()

    async def _tick(self, driver: Driver) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            await driver.feed(Ticked())

    async def _hold_lease(self, store: ResilientStore) -> None:
        """As `ResilientStore.hold_lease` does in a thread."""
        while True:
            store.keep_lease()
            await asyncio.sleep(LEASE_S / 3)

    # The children ---------------------------------------------------------------------------------

    def _bulk_order(self, order: object) -> object | None:
        match order:
            case OpenSpool(round_, members, bits, fragment):
                layout = round_layout(self._genesis, bits, fragment)
                self._spool.open_round(round_, members, layout)
                return SpoolOpened(round_)
            case Seal(round_):
                return Sealed(round_, self._spool.seal(round_))
            case DropSpool(round_):
                self._spool.drop(round_)
        return None

    # What workers call ----------------------------------------------------------------------------

    async def connect(self, stream: ControlStream) -> None:
        """Serve one control stream."""
        try:
            responses = self._service.Connect(stream.requests(), self._context(stream.worker))
            async with contextlib.aclosing(cast("Any", responses)):
                async for response in responses:
                    happens("write to a stream")
                    stream.send(response)
        except CrosscloudError as e:
            stream.end(e)
        except Exception as e:
            stream.end(e)
            failed = {"message": "a control stream failed", "exception": e}
            asyncio.get_running_loop().call_exception_handler(failed)
        except BaseException as e:
            stream.end(e)
            raise
        else:
            stream.end(None)

    async def push(
        self, worker: WorkerId, round_id: RoundId, shards: list[tuple[int, bytes]], arrive: int
    ) -> list[int]:
        """Take one stream of shards, of which only the first `arrive` come."""

        def messages() -> Iterator[bytes]:
            for index, payload in shards[:arrive]:
                happens(f"receive shard {index}")
                yield framing.shard(bytes.fromhex(round_id), index, payload)
            if arrive < len(shards):
                raise grpc.RpcError

        context = self._context(worker)
        response = await asyncio.to_thread(self._uploads.push_shards, messages(), context)
        return list(response.missing)

    async def list_missing(self, worker: WorkerId, round_id: RoundId) -> list[int]:
        """Say which shards have not arrived."""
        request = bulk_pb2.ListMissingRequest(round_id=bytes.fromhex(round_id))
        return list(self._uploads.list_missing(request, self._context(worker)).missing)

    async def roll_back(self, version: int, by: str) -> None:
        """Do what an operator asks for; return when it is done."""
        order = identities().order(
            by,
            genesis=canonical.digest(self._genesis),
            version=version,
            digest=self._retention.digest_of(version),
            num_records=self.tail.num_records,
        )
        request = operator_pb2.RollbackRequest(version=version, order=canonical.encode(order))
        await self._operator.Rollback(request, self._context(by))

    def tail_records(self) -> Iterator[bytes]:
        """Yield the log's records."""
        return (self.tail.read(seq) for seq in range(self.tail.num_records))

    def file(self, digest: Digest) -> bytes | None:
        """Return a file that is kept."""
        return self._data.read(digest) if self._data.has(digest) else None

    def _context(self, name: str) -> Any:
        """Return as much of a gRPC context as the services use."""
        uri = identities().listed.members[name].uri.encode()
        return SimpleNamespace(
            auth_context=lambda: {"peer_uri": (uri,)}, peer=lambda: name, cancel=lambda: None
        )
