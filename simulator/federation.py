"""One history: a whole run in virtual time, in which things go wrong, and then no more.

    faults for a few seconds -> calm: a version must come -> pause: everybody settles -> checks

A supervisor starts again what ended. The same seed gives the same history. It is long because the
course of a history, its supervisors and what they see stand on one page.
"""

import asyncio
import functools
import json
import random
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, assert_never

import grpc

from common import canonical
from common.chain import genesis_version
from common.documents import Genesis, Record, Stop, Version
from common.errors import DamagedDataError, DivergedError, ProtocolError, StorageError
from common.ids import Digest, RoundId, WorkerId
from coordinator.ports import Append, Command, Effect, Operated, Publish, Save, Send
from protos.v1 import session_pb2
from services.disk.data_store import DataStore
from services.observe.metrics.worker import WorkerMetrics
from services.wire.child import ChildEndedError
from simulator.checks import violations, zeros
from simulator.clock import NothingHappensError, VirtualLoop
from simulator.coordinator import SimulatedCoordinator
from simulator.disk import Disk, watched
from simulator.eavesdropper import Eavesdropper, Marks
from simulator.faults import (
    BadLinks,
    CutStream,
    EndWorker,
    Fault,
    Isolate,
    KillCoordinator,
    KillWorker,
    Lie,
    Loss,
    PauseCoordinator,
    Rewind,
    RollBack,
    faults_s,
)
from simulator.host import Host
from simulator.identities import RUN, WORKERS, identities
from simulator.liar import Liar
from simulator.memory_store import MemoryServer
from simulator.network import Network
from simulator.records import record_path, records_of, schema_of, summary
from simulator.runs import algorithm_of, num_blocks, num_workers
from simulator.turn_thread import Killed
from simulator.verified import Verified
from simulator.work_history import WorkHistory
from simulator.worker import SimulatedWorker

CALM_S: Final = 40.0
"""Virtual seconds within which a version must come, and then everybody must settle."""

_RUN_SEED: Final = 1
_METRICS: Final = WorkerMetrics(run=RUN, worker="w", software="0", tells_loss=False)


class BrokenError(AssertionError):
    """The history broke a promise; the message says which."""


@dataclass
class WorkerPlace:
    """One worker's machine, over all lives of its process."""

    index: int
    name: WorkerId
    disk: Disk
    max_steps_per_s: float
    fates: list[KillWorker]
    history: WorkHistory
    life: SimulatedWorker | None = None

    def durable_marks(self) -> Marks:
        """Return what a power cut would leave on its disk of its unresolved round."""
        assert self.life is not None
        path = self.life.working.state.stage.document
        if not path.is_file() or not self.disk.holds(path):
            return Marks()
        stage = json.loads(path.read_bytes())
        return Marks(stage["plan"]["round"], stage["exposed"], stage["revealed"])


@dataclass
class SimulatedFederation:
    """See the module docstring.

    Args:
        root: an empty folder, in memory if possible.
        faults: what goes wrong.
    """

    seed: int
    root: Path
    faults: tuple[Fault, ...]
    transcript: list[str] = field(default_factory=list)
    server: MemoryServer = field(default_factory=MemoryServer)
    former: list[MemoryServer] = field(default_factory=list)
    aggregates: dict[Digest, bytes] = field(default_factory=dict)
    leaders: list[Host] = field(default_factory=list)
    coordinators: list[SimulatedCoordinator] = field(default_factory=list)
    serving: SimulatedCoordinator | None = None
    broken: str = ""
    num_lives: int = 0
    num_asked: int = 0
    returned: list[str] = field(default_factory=list)
    is_calm: bool = False
    lied_to: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)  # noqa: S311 - a simulation
        identities()  # before any disk is watched
        self.disk = Disk(self.root / "coordinator")
        store = DataStore(self.disk.root / "data")
        algorithm = algorithm_of(self.seed)
        schema = schema_of(num_blocks(self.seed))
        version = genesis_version(schema, algorithm, _RUN_SEED, zeros, store.write)
        self.genesis = Genesis(
            run=RUN,
            seed=_RUN_SEED,
            learner="simulator.learner:build",
            settings={
                "num_values": schema.parameter_values,
                "num_averaged": schema.buffer_values,
            },
            schema=schema,
            version0=store.write(canonical.encode(version)),
            algorithm=algorithm,
            stop=Stop(versions=10**6),
        )
        self.disk = Disk(self.root / "coordinator")  # what is there now is durable
        self.places = [
            WorkerPlace(
                index=i,
                name=name,
                disk=Disk(self.root / name),
                max_steps_per_s=self.rng.choice((1.5, 2.0, 3.0)),
                fates=[f for f in self.faults if isinstance(f, KillWorker) and f.worker == i],
                history=WorkHistory(
                    functools.partial(self._froze, name), functools.partial(self._given, name)
                ),
            )
            for i, name in enumerate(WORKERS[: num_workers(self.seed)])
        ]
        self.fates = [f for f in self.faults if isinstance(f, KillCoordinator | PauseCoordinator)]
        self.is_rewound = any(isinstance(f, Rewind) for f in self.faults)
        self.durable_records: set[bytes] = set()
        self.network = Network(self.rng, self._said)
        self.verified = Verified(self.genesis, version, self._break)
        self.network.heard = lambda worker, _, message: self.verified.sent(worker, message)
        self.eavesdropper: Eavesdropper | None = None
        if algorithm.masked:
            places = {p.name: p for p in self.places}
            self.eavesdropper = Eavesdropper(
                algorithm, places, lambda name: places[name].durable_marks(), self._break
            )
            self.network.heard, self.network.uploads = self._heard, self.eavesdropper.uploads
        for fault in self.faults:
            if isinstance(fault, BadLinks):
                self.network.duplicates, self.network.cuts = fault.duplicates, fault.cuts

    # The course of a history ----------------------------------------------------------------------

    def run(self) -> None:
        """Play the history.

        Raises:
            BrokenError: a promise was broken.
        """
        random.seed(self.seed)  # the jitter of the services' own pauses
        loop = self.loop = VirtualLoop(
            pauses=any(isinstance(f, PauseCoordinator) for f in self.faults)
        )
        loop.set_exception_handler(self._unheard)
        try:
            with watched(self.disk, *(p.disk for p in self.places)), _current(loop):
                loop.run_until_complete(self._play())
        except NothingHappensError:
            raise BrokenError("everybody waits for ever") from None
        finally:
            loop.close()
        if self.broken:
            raise BrokenError(self.broken)

    async def _play(self) -> None:
        start = asyncio.create_task
        tasks = [start(self._supervise_coordinator())]
        tasks += [start(self._supervise_worker(p)) for p in self.places]
        tasks += [start(self._go_wrong(f)) for f in self.faults]
        try:
            until_s = faults_s(self.seed)
            await self._until(lambda: self.loop.time() >= until_s, until_s + 1, "")
            self._calm()
            before = self._version()
            await self._until(
                lambda: self._version() > before,
                CALM_S,
                f"(vii) no version after {before} within {CALM_S:g} s of calm",
            )
            await self._until_paused()
            await self._until(self._settled, CALM_S, "(vii) not everybody settles")
            self._check()
        finally:
            await self._end(tasks)

    def _check(self) -> None:
        assert self.serving is not None
        lives = [p.life for p in self.places if p.life is not None]
        root = self.disk.root
        # A leader that is paused between a Save and its OpenSpool leaves an empty folder behind.
        left_behind = sum(isinstance(f, PauseCoordinator) for f in self.faults)
        for sentence in violations(
            self.genesis, root, self.serving, lives, self.aggregates, left_behind
        ):
            self._break(sentence)
        by = {r.rollback.by for r in records_of(root / "log") if r.rollback is not None}
        for name in self.returned:
            if name not in by:
                self._break(f"(i) the roll-back that {name} was told of is not in the log")

    def _calm(self) -> None:
        self.tell("calm from here on")
        self.is_calm = True
        self.network.duplicates = self.network.cuts = 0.0
        self.network.unreachable.clear()
        for host in self._hosts():
            host.dies_at = host.pauses_at = 0

    async def _until_paused(self) -> None:
        for _ in range(20):
            if self.serving is not None and self.serving.host.alive:
                try:
                    pause = self.serving.driver.feed(Operated(Command.PAUSE, "tester"))
                    await self.serving.host.run(pause)
                    return
                except (StorageError, Killed):
                    pass
            await asyncio.sleep(1.0)
        raise BrokenError("(vii) nobody leads")

    async def _until(self, reached: Any, within_s: float, otherwise: str) -> None:
        until_s, streak = self.loop.time() + within_s, 0
        while streak < (3 if reached == self._settled else 1):
            if self.broken:
                raise BrokenError(self.broken)
            if self.loop.time() > until_s:
                raise BrokenError(f"{otherwise}: {self._where()}")
            streak = streak + 1 if reached() else 0
            await asyncio.sleep(0.5)

    def _settled(self) -> bool:
        if self.serving is None or not self.serving.host.alive:
            return False
        if any(h.paused for h in self.leaders):  # it may do harm when it goes on
            return False
        status = self.serving.core.status(self.loop.time())
        n = self.serving.tail.num_records
        return status.state == "paused" and all(
            (life := p.life) is not None
            and life.host.alive
            and life.is_ready
            and life.working.conduct.connected
            and life.working.conduct.part.settled
            and life.working.conduct.position.next_seq == n
            and not life.working.conduct.position.behind
            for p in self.places
        )

    def _where(self) -> str:
        lives = [
            f"{p.name} at record {at.position.next_seq}, settled {at.part.settled}"
            for p in self.places
            if p.life is not None and p.life.is_ready
            for at in (p.life.working.conduct,)
        ]
        if self.serving is None:
            return "nobody leads"
        status = self.serving.core.status(self.loop.time())
        return (
            f"{status.state} {status.phase} waits for {status.waiting_for}, "
            f"{self.serving.tail.num_records} records; {'; '.join(lives)}"
        )

    def _version(self) -> int:
        if self.serving is None:
            return 0
        return self.serving.core.status(self.loop.time()).version

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        for host in self._hosts():
            host.kill()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:  # they unwind
            for other in others:
                other.cancel()
            await asyncio.sleep(0.5)

    def _hosts(self) -> list[Host]:
        return [*self.leaders, *(p.life.host for p in self.places if p.life is not None)]

    # Supervisors ----------------------------------------------------------------------------------

    async def _supervise_coordinator(self) -> None:
        while True:
            await self._lead()
            await asyncio.sleep(self.rng.uniform(0.2, 1.5))
            while any(h.alive for h in self.leaders):  # noqa: ASYNC110 - a standby leads by now
                await asyncio.sleep(0.5)

    async def _lead(self) -> None:
        self.num_lives += 1
        host = Host(f"c{self.num_lives}", self._coordinator_died, self.tell)
        self.leaders = [h for h in self.leaders if h.alive] + [host]
        fate = self.fates.pop(0) if self.fates and not self.is_calm else None
        if isinstance(fate, KillCoordinator):
            host.dies_at, host.counted, host.fate = fate.act, fate.before, fate.loss
        elif isinstance(fate, PauseCoordinator):
            host.pauses_at, host.counted = fate.act, fate.before
            host.paused_for_s = fate.lasting_s
            host.on_pause = lambda: self._standby()
        coordinator = SimulatedCoordinator(
            self.genesis,
            host=host,
            root=self.disk.root,
            server=self.server,
            rng=self.rng,
            serving=self._now_serving,
            watch=self._watch,
        )
        await self._outlive(host, coordinator.run(), (StorageError, ChildEndedError))

    def _standby(self) -> None:
        self._standing_by = asyncio.create_task(self._lead())

    def _coordinator_died(self, host: Host) -> None:
        self.tell(f"{host.name} dies before {host.last_act}: {host.fate.value}")
        if host.fate is not Loss.PROCESS:
            for other in self.leaders:
                other.kill()
                self.network.cut(other)
            self.disk.cut_power(self.rng, keep=host.fate is Loss.SOME)
            self.durable_records.clear()

    async def _supervise_worker(self, place: WorkerPlace) -> None:
        while True:
            host = Host(str(place.name), functools.partial(self._worker_died, place), self.tell)
            if place.fates and not self.is_calm:
                fate = place.fates.pop(0)
                host.dies_at, host.counted, host.fate = fate.act, fate.before, fate.loss
            place.life = SimulatedWorker(
                place.name,
                self.genesis,
                host=host,
                root=place.disk.root,
                data={"index": place.index},
                max_steps_per_s=place.max_steps_per_s,
                network=self.network,
                rng=self.rng,
                metrics=_METRICS,
                history=place.history,
            )
            await self._outlive(host, place.life.run(), (StorageError,))
            await asyncio.sleep(self.rng.uniform(0.2, 2.0))

    def _worker_died(self, place: WorkerPlace, host: Host) -> None:
        when = f" before {host.last_act}" if host.last_act else ""
        self.tell(f"{host.name} dies{when}: {host.fate.value}")
        if host.fate is not Loss.PROCESS:
            place.disk.cut_power(self.rng, keep=host.fate is Loss.SOME)

    async def _outlive(
        self, host: Host, life: Coroutine[Any, Any, None], ends: tuple[type[Exception], ...]
    ) -> None:
        """Return when a life ended; some ends are part of the protocol, others are bugs."""
        task = host.run(life)
        await asyncio.wait((task,))
        host.kill()
        self.network.cut(host)
        self._let_serve([c for c in self.coordinators if c.host.alive])
        error = None if task.cancelled() else task.exception()
        if error is None or isinstance(error, Killed):
            return
        self.tell(f"{host.name} ended: {type(error).__name__}: {error}")
        may_refuse = host.name in self.lied_to and isinstance(error, DivergedError | ProtocolError)
        if isinstance(error, DamagedDataError) or not (may_refuse or isinstance(error, ends)):
            self._break(f"{host.name} cannot go on: {type(error).__name__}: {error}")

    # What goes wrong ------------------------------------------------------------------------------

    async def _go_wrong(self, fault: Fault) -> None:
        match fault:
            case CutStream(at_s, worker):
                await asyncio.sleep(at_s)
                self.tell(f"{self.places[worker].name}: its stream breaks")
                self.network.cut(worker=self.places[worker].name)
            case Isolate(at_s, worker, lasting_s):
                await asyncio.sleep(at_s)
                name = self.places[worker].name
                self.tell(f"{name} reaches nobody for {lasting_s:.1f} s")
                self.network.unreachable.add(name)
                self.network.cut(worker=name)
                await asyncio.sleep(lasting_s)
                self.network.unreachable.discard(name)
            case EndWorker(at_s, worker, loss):
                await asyncio.sleep(at_s)
                if (life := self.places[worker].life) is not None:
                    life.host.die(loss)
            case Rewind(at_s, share):
                await asyncio.sleep(at_s)
                self._rewind(share)
            case RollBack(at_s, back):
                await asyncio.sleep(at_s)
                await self._roll_back(back)
            case Lie(at_s, worker, lasting_s, kind):
                await self._lie(at_s, self.places[worker].name, lasting_s, kind)
            case KillCoordinator() | PauseCoordinator() | KillWorker() | BadLinks():
                pass
            case _:
                assert_never(fault)

    async def _lie(self, at_s: float, victim: WorkerId, lasting_s: float, kind: str) -> None:
        """Lie to one worker for a while; then its stream breaks, and it hears the truth."""
        liar = Liar(kind, self.genesis, self.rng, self._file)
        self.network.listeners.append(liar)
        await asyncio.sleep(at_s)
        self.tell(f"from here on the coordinator {kind} what {victim} is told")
        self.network.liars[victim] = liar
        self.lied_to.add(victim)
        await asyncio.sleep(min(lasting_s, max(0.0, faults_s(self.seed) - self.loop.time())))
        self.tell(f"{victim} hears the truth again")
        del self.network.liars[victim]
        self.network.cut(worker=victim)

    def _file(self, digest: Digest) -> bytes | None:
        return None if self.serving is None else self.serving.file(digest)

    def _rewind(self, share: float) -> None:
        index = int(share * len(self.former))
        to = self.former[index].copy() if self.former and share else MemoryServer()
        self.tell(f"the store goes back from change {self.server.op_seq} to {to.op_seq}")
        for f in fields(MemoryServer):
            setattr(self.server, f.name, getattr(to, f.name))

    async def _roll_back(self, back: int) -> None:
        """Ask once, as an operator does; what it is told has to be so."""
        while self.serving is None or not self.serving.host.alive or self.serving.host.paused:  # noqa: ASYNC110
            await asyncio.sleep(0.3)
        asked, head = self.serving, self.serving.core.status(self.loop.time()).version
        version, self.num_asked = max(0, head - back), self.num_asked + 1
        name = f"tester{self.num_asked}"
        self.tell(f"{name} asks {asked.host.name}, on version {head}, for version {version}")
        task = asked.host.run(asked.roll_back(version, name))
        await asyncio.wait((task,))
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or isinstance(error, Killed | StorageError):
            self.tell(f"{name} does not know")
        elif error is not None:
            self.tell(f"{name} is told: {type(error).__name__}: {error}")
            if not isinstance(error, ProtocolError):
                raise error
        elif version >= head:
            self._break(f"(iii) version {version} returned when the run was on {head}")
        else:
            self.tell(f"{name} is told that it is done")
            self.returned.append(name)
            self._check_returned(name)

    def _check_returned(self, name: str) -> None:
        found = records_of(self.disk.root / "log")
        record = next((r for r in found if r.rollback is not None and r.rollback.by == name), None)
        if record is None or not self.disk.holds(record_path(self.disk.root, record.seq)):
            self._break(f"(ii) {name} is told of a roll-back that the log may lose")
            return
        data = DataStore(self.disk.root / "data")
        version = canonical.decode(data.read(record.digest), Version)
        if damaged := data.damaged((record.digest, *version.blobs())):
            self._break(f"(iii) {name}'s version returned without {len(damaged)} of its files")

    # What is seen ---------------------------------------------------------------------------------

    def tell(self, line: str) -> None:
        """Add a line to the transcript."""
        self.transcript.append(f"{self.loop.time():8.3f} {line}")

    def _now_serving(self, coordinator: SimulatedCoordinator) -> None:
        self.tell(f"{coordinator.host.name} leads")
        self._let_serve([*self.coordinators, coordinator])
        for content in coordinator.tail_records():
            self._saw(canonical.decode(content, Record))

    def _let_serve(self, coordinators: list[SimulatedCoordinator]) -> None:
        """The newest of these is found under the coordinator's address from now on."""
        newest = max(coordinators, key=lambda c: int(c.host.name[1:]), default=None)
        if self.serving is not None and newest is not self.serving:
            self.network.cut(self.serving.host)
        self.coordinators = coordinators
        self.network.server = self.serving = newest

    def _watch(self, coordinator: SimulatedCoordinator, effect: Effect) -> None:
        match effect:
            case Save():
                if self.is_rewound:
                    self.former.append(self.server.copy())
            case Append(record):
                self.tell(f"{coordinator.host.name} appended {summary(record)}")
                self._saw(record)
            case Send(_, message):
                self.tell(f"{coordinator.host.name} sent {type(message).__name__}")
            case Publish():
                pass

    def _given(self, worker: WorkerId, version: int, segments: tuple[str, ...]) -> None:
        self.verified.given(worker, version, segments)

    def _heard(self, worker: WorkerId, boot: str, message: session_pb2.ConnectRequest) -> None:
        assert self.eavesdropper is not None
        self.verified.sent(worker, message)
        self.eavesdropper.sent(worker, boot, message)

    def _froze(self, worker: WorkerId, round_id: RoundId, steps: frozenset[int]) -> None:
        if self.eavesdropper is not None:
            self.eavesdropper.froze(worker, round_id, steps)

    def _saw(self, record: Record) -> None:
        data = DataStore(self.disk.root / "data")
        read = functools.partial(data.read, record.digest)
        self.verified.recorded(record, lambda: canonical.decode(read(), Version))
        if self.eavesdropper is not None:
            self.eavesdropper.recorded(record)
        if record.commit is not None and record.commit.aggregate not in self.aggregates:
            path = self.disk.root / "data" / record.commit.aggregate
            if path.is_file():
                self.aggregates[record.commit.aggregate] = path.read_bytes()

    def _said(self, worker: WorkerId, message: session_pb2.ConnectResponse) -> None:
        self.verified.told(message)
        if self.eavesdropper is not None:
            self.eavesdropper.told(message)
        kind = message.WhichOneof("message")
        if kind == "outcome":
            content = message.outcome.record
        elif kind == "welcome":
            content = message.welcome.start_record
        else:
            return
        if content in self.durable_records:  # since the last power cut
            return
        record = canonical.decode(content, Record)
        path = record_path(self.disk.root, record.seq)
        if not path.is_file() or path.read_bytes() != content or not self.disk.holds(path):
            self._break(f"(ii) {worker} is told of record {record.seq}, which the log may lose")
        else:
            self.durable_records.add(content)

    def _break(self, sentence: str) -> None:
        self.tell(f"BROKEN: {sentence}")
        self.broken = self.broken or sentence

    def _unheard(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        expected = Killed | StorageError | ProtocolError | grpc.RpcError
        if error is not None and not isinstance(error, expected):
            self._break(f"{context['message']}: {type(error).__name__}: {error}")


@contextmanager
def _current(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
