"""A coordinator in virtual time: the real core, driver, log, spool, commit and session service.

As in `services/coordinator/main.py`, with the children as tasks of the same host: what kills one of
them ends the coordinator anyway. Only processes, network, store and clock are not real.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, TypeVar, cast

import grpc
from typing_extensions import override

from common import canonical
from common.documents import Genesis, Record
from common.errors import CrosscloudError, ProtocolError, StaleLeaderError, UnknownFileError
from common.ids import Digest, RoundId, SessionId, WorkerId
from common.shards import PayloadLayout
from coordinator.head import RunHead
from coordinator.plan import Timings
from coordinator.ports import (
    Compute,
    DropSpool,
    Effect,
    Event,
    Message,
    OpenSpool,
    RestoreFailed,
    Seal,
    Ticked,
)
from coordinator.run import Run
from protos.v1 import bulk_pb2, operator_pb2
from services import framing
from services.child import Child, ChildEndedError
from services.coordinator import convert
from services.coordinator.admission import Admission
from services.coordinator.bulk import BulkService, Outbox
from services.coordinator.commit import Computer
from services.coordinator.control import OperatorService, SessionService
from services.coordinator.driver import Driver
from services.coordinator.keeping import Keeping
from services.coordinator.log_store import LogStore
from services.coordinator.messages import (
    Collect,
    ComputeVersion,
    DropRound,
    OpenRound,
    RestoreVersion,
    RoundOpened,
    RoundSealed,
    SealRound,
)
from services.coordinator.processes import Processes
from services.coordinator.reports import Reports
from services.coordinator.sessions import LogTail, Sessions
from services.coordinator.spool import Spool
from services.coordinator.status import StatusSource
from services.coordinator.store import Changes
from services.data_store import DataStore
from services.identity import Identity, MemberList, Role
from services.simulator.host import Host, happens
from services.simulator.memory_store import MemoryServer, MemoryStore
from services.simulator.network import ControlStream

_T = TypeVar("_T")

TICK_S: Final = 0.25
LEASE_S: Final = 3.0
HEARTBEAT_S: Final = 1.0
TIMINGS: Final = Timings(lease_s=4.0, key_timeout_s=3.0, upload_timeout_s=5.0, default_grace_s=1.0)
SNAPSHOT_EVERY: Final = 2


class _Store(MemoryStore):
    """Every change is an act before and after."""

    @override
    async def apply(self, changes: Changes) -> None:
        if not changes:  # the fence before a collection: no pause fits in between, see docs
            await super().apply(changes)
            return
        happens("save")
        await asyncio.sleep(0)
        await super().apply(changes)
        happens("saved")
        await asyncio.sleep(0)


class _Members(MemberList):
    """Everybody is let in; who it is stands in the context."""

    def __init__(self) -> None: ...

    @override
    def admit(self, identity: Identity, *roles: Role) -> Identity:
        return identity


class _Inline(Executor):
    """Works at once: there are no threads in virtual time."""

    @override
    def map(self, fn: Callable[..., _T], *iterables: Iterable[Any], **_: Any) -> Iterator[_T]:
        return map(fn, *iterables)


class _Child:
    """`services.child.Child` without a process: `work` answers each order, or None."""

    def __init__(self, name: str, work: Callable[[object], object | None]) -> None:
        self._name = name
        self._work = work
        self._orders: asyncio.Queue[object] = asyncio.Queue()
        self._answers: asyncio.Queue[object] = asyncio.Queue()

    async def send(self, order: object) -> None:
        if not isinstance(order, Collect):
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
            if isinstance(order, ComputeVersion):
                await asyncio.sleep(lag_s)
            try:
                answer = self._work(order)
            except CrosscloudError as e:
                answer = e
            if answer is not None:
                self.answer(answer)


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
    ) -> None:
        self.host = host
        self._genesis = genesis
        self._root = root
        self._rng = rng
        self._serving = serving
        self._watch = watch
        self._now_s = asyncio.get_running_loop().time
        self._store = _Store(server, host.name, self._now_s)
        self.sessions = Sessions()
        self._spool = Spool(root / "spool")
        self._data = DataStore(root / "data")
        self._keeping = Keeping(genesis.version0, SNAPSHOT_EVERY)
        self._log: LogStore
        self._processes: Processes
        self.core: Run
        self.driver: Driver

    # As in main.py --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Wait for the lease, take the lead, and serve until it is lost or the run is over."""
        while not self._store.lease.acquire(LEASE_S):  # noqa: ASYNC110 - as a standby does
            await asyncio.sleep(LEASE_S / 10)
        self._log = LogStore(self._root / "log", canonical.digest(self._genesis))
        self.core = Run(
            self._genesis,
            head=self._fold_log(),
            leader=self.host.name,
            new_round_id=lambda: RoundId(f"{self._rng.getrandbits(128):032x}"),
            unix_offset_s=0.0,
            timings=TIMINGS,
        )
        self.tail = LogTail(self._log.num_records, self._log.read, self._keeping.start_seq)
        self.driver = Driver(
            self.core,
            store=self._store,
            commit_log=self._log,
            works=self,
            now_s=self._now_s,
            watch=lambda effect, _: self._watch(self, effect),
        )
        self._data.clean()
        self._spool.clean()
        computer = Computer(self._genesis, Spool(self._root / "spool"), self._data, _Inline())
        self._bulk = _Child("bulk", self._bulk_order)
        commit = _Child("commit", _commit_order(computer))
        self._service = SessionService(
            self.driver,
            admission=cast("Admission", SimpleNamespace(check=lambda join: None)),
            members=_Members(),
            sessions=self.sessions,
            reports=Reports(),
            tail=self.tail,
            heartbeat_interval_s=HEARTBEAT_S,
            lease_s=TIMINGS.lease_s,
        )
        status = cast("StatusSource", None)  # nobody asks for it
        self._operator = OperatorService(
            self.driver, members=_Members(), status=status, keeping=self._keeping
        )
        outbox = Outbox(cast("Any", SimpleNamespace(send=self._bulk.answer)))
        self._uploads = BulkService(self._spool, self._data, _Members(), outbox)
        self._processes = Processes(
            cast("Child", self._bulk), cast("Child", commit), self._feed_late, lambda _: None
        )
        children = [
            asyncio.create_task(self._bulk.run(0.0)),
            asyncio.create_task(commit.run(self._rng.uniform(0.05, 0.5))),
        ]
        found = await self._store.load()
        await self.driver.carry_out(self.core.start(self._now_s(), found.tables))
        self._serving(self)
        loops: list[asyncio.Future[Any]] = [
            *children,
            asyncio.create_task(self._processes.run()),
            asyncio.create_task(self._tick()),
            asyncio.create_task(self._hold_lease()),
        ]
        try:
            waited = [self.driver.finished, *loops]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for future in waited:
                if future.done():
                    future.result()
        finally:
            for task in loops:
                task.cancel()

    def _fold_log(self) -> RunHead:
        self._log.load()
        head = RunHead.of(self._genesis)
        for content in self._log.records():
            record = canonical.decode(content, Record)
            head = head.after(record)
            self._keeping.recorded(record)
        return head

    async def _feed_late(self, event: Event) -> None:
        with contextlib.suppress(ProtocolError):
            await self.driver.feed(event)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            await self.driver.feed(Ticked())

    async def _hold_lease(self) -> None:
        while True:
            if not self._store.lease.renew(LEASE_S):
                raise StaleLeaderError("the lease is lost")
            await asyncio.sleep(LEASE_S / 3)

    # What the driver asks for ---------------------------------------------------------------------

    async def to_bulk(self, effect: OpenSpool | Seal | DropSpool) -> None:
        """Hand over to the bulk process."""
        await self._processes.to_bulk(effect)

    async def to_commit(self, effect: Compute) -> None:
        """Hand over to the commit process."""
        await self._processes.to_commit(effect)

    async def restore(self, version: int) -> None:
        """Have the commit process make an earlier version whole."""
        try:
            order = self._keeping.restoring(version, self._log.commit)
        except UnknownFileError as e:  # the round that was open has committed meanwhile
            failed = RestoreFailed(version, str(e))
            self._late = asyncio.create_task(self._feed_late(failed))  # once the driver is free
        else:
            await self._processes.to_commit(order)

    async def send(self, session: SessionId, message: Message) -> None:
        """Queue for one session."""
        happens(f"send {type(message).__name__}")
        await asyncio.sleep(0)
        self.sessions.send(session, convert.response_of(message), last=convert.is_last(message))

    async def publish(self, record: Record) -> None:
        """Let every follower of the log know; then delete what nobody needs any more."""
        happens("publish")
        await asyncio.sleep(0)
        made = self._keeping.recorded(record)
        await self.tail.grow(record.seq + 1, self._keeping.start_seq)
        self.sessions.wake()
        if made:
            await self._store.apply(())  # a deposed leader must not delete a newer one's files
            await self._processes.to_commit(self._keeping.collect())

    # The children ---------------------------------------------------------------------------------

    def _bulk_order(self, order: object) -> object | None:
        match order:
            case OpenRound(round_, members, bits):
                layout = PayloadLayout(self._genesis.schema.length, bits)
                self._spool.open_round(round_, members, layout)
                return RoundOpened(round_)
            case SealRound(round_):
                return RoundSealed(round_, self._spool.seal(round_))
            case DropRound(round_):
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

        response = self._uploads.push_shards(messages(), self._context(worker))
        return list(response.missing)

    async def list_missing(self, worker: WorkerId, round_id: RoundId) -> list[int]:
        """Say which shards have not arrived."""
        request = bulk_pb2.ListMissingRequest(round_id=bytes.fromhex(round_id))
        return list(self._uploads.list_missing(request, self._context(worker)).missing)

    async def roll_back(self, version: int, by: str) -> None:
        """Do what an operator asks for; return when it is done."""
        request = operator_pb2.RollbackRequest(version=version)
        await self._operator.Rollback(request, self._context(WorkerId(by)))

    def tail_records(self) -> Iterator[bytes]:
        """Yield the log's records."""
        return self._log.records()

    def file(self, digest: Digest) -> bytes | None:
        """Return a file that is kept."""
        return self._data.read(digest) if self._data.has(digest) else None

    def _context(self, worker: WorkerId) -> Any:
        """Return as much of a gRPC context as the services use."""
        uri = Identity(self._genesis.run, Role.WORKER, "org", worker).uri.encode()
        return SimpleNamespace(
            auth_context=lambda: {"peer_uri": (uri,)}, peer=lambda: worker, cancel=lambda: None
        )


def _commit_order(computer: Computer) -> Callable[[object], object]:
    """Return what the commit process does with an order."""

    def work(order: object) -> object:
        match order:
            case ComputeVersion():
                return computer.compute(order)
            case RestoreVersion():
                return computer.restore(order)
            case Collect():
                return computer.collect(order)
        raise AssertionError(order)

    return work
