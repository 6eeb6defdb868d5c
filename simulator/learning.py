"""A learning run in virtual time: nothing goes wrong; it tells what was learned, and at what cost.

What runs is what runs in production: core, log, spool and commit of the coordinator; conduct,
replica, codec and trainer of each worker, whose real steps are taken in turn in this one process.
Speeds and links are virtual: how long a step or a transfer takes is said, not measured, so the same
run gives the same figures to the last bit, whatever else the machine does. (Torch computes alike on
one kind of processor; between kinds the last bits differ.) The noise of stochastic rounding follows
from the run's seed too.

Masked runs are masked for real. Since masks cancel exactly, they commit the same versions as runs
of the tls tier, bit for bit; only their bytes are more.
"""

import asyncio
import logging
import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Final
from unittest import mock

from typing_extensions import override

from common import canonical
from common.canonical import Json
from common.documents import Record, Version
from common.errors import ConfigError
from common.ids import Digest, RoundId, WorkerId
from coordinator.plan import Timings
from coordinator.ports import Append, Effect
from protos.v1 import session_pb2
from services.config.soundness import refuse_unsound
from services.disk.data_store import DataStore
from services.observe.metrics.worker import WorkerMetrics, WorkerPhase
from services.process.exit_status import Exit
from services.versions.export import load_version
from services.versions.genesis import make_genesis
from services.versions.learner import build_learner
from services.worker import upload
from services.worker.link import EndedError
from simulator.clock import TryAgainError, VirtualLoop
from simulator.coordinator import SimulatedCoordinator
from simulator.experiment import Cloud, Glance, Learned, LearningRun, Traffic
from simulator.host import Host
from simulator.identities import RUN
from simulator.memory_store import MemoryServer
from simulator.network import Network
from simulator.work_history import WorkHistory
from simulator.worker import SimulatedWorker
from worker.training.learner import Learner, LearnerContext, Validation
from worker.training.model import ParameterVector

LATENCY_S: Final = 0.01
"""Virtual seconds that every message takes."""

COMMIT_S: Final = 0.05
"""Virtual seconds that computing a version takes: with no link to wait for, a round takes 0.2."""

_TIMINGS: Final = Timings(lease_s=60.0, key_timeout_s=60.0, upload_timeout_s=1e6)
"""Nobody is ever late; leases are renewed while an upload takes its time."""


def learn(run: LearningRun, root: Path, said: Callable[[Record], None] | None = None) -> Learned:
    """Play a run.

    Args:
        root: an empty folder, in memory if possible; of a process that encodes nothing else
            meanwhile, since the noise follows from the seed while the run lasts.
        said: receives every commit.

    Raises:
        ConfigError: the run makes no sense; says what to change.
    """
    refuse_unsound(run.algorithm, run.stop, num_workers=len(run.clouds))
    rng, noise = random.Random(run.seed), random.Random(f"noise {run.seed}")  # noqa: S311
    random.seed(run.seed)  # the jitter of the services' own pauses
    was_disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        # Of all that is drawn, names and nonces say, only noise makes a difference to a version.
        with mock.patch.object(upload, "secrets", SimpleNamespace(token_bytes=noise.randbytes)):
            return _Learning(run, root, rng, said or (lambda record: None)).learned()
    finally:
        logging.disable(was_disabled)


class _Learning:
    """One run under way."""

    def __init__(
        self, run: LearningRun, root: Path, rng: random.Random, said: Callable[[Record], None]
    ) -> None:
        self._run, self._root, self._rng, self._said = run, root, rng, said
        store = DataStore(root / "coordinator" / "data")
        self._genesis = make_genesis(
            run=RUN,
            seed=run.seed,
            learner=run.learner,
            settings=run.settings,
            algorithm=run.algorithm,
            stop=run.stop,
            store=store,
        )
        self._store = store
        self._tally = {WorkerId(c.name): _Tally() for c in run.clouds}
        self._metrics = {WorkerId(c.name): _Metrics() for c in run.clouds}
        self._network = Network(
            rng,
            lambda worker, message: self._tally[worker].says(message),
            lambda worker, _, message: self._tally[worker].hears(message),
            latency_s=(LATENCY_S, LATENCY_S),
        )
        self._glancing = self._evaluator(run.glanced) if run.glance_every else None
        self._glances: list[Glance] = []
        self._newest: Record | None = None
        self._aggregate_bytes = 0

    def learned(self) -> Learned:
        """Play it."""
        with _virtual_time() as loop:
            loop.run_until_complete(self._play())
            seconds = loop.time()
        newest = self._newest
        if newest is None:
            raise ConfigError("stop: the run ended before its first version")
        found = self._evaluate(self._evaluator(self._run.measured), newest.digest)
        counters, own = newest.counters, newest.counters.workers.values()
        exchanges = sum(w.contributions for w in own)
        return Learned(
            digest=newest.digest,
            versions=newest.version,
            loss=found.loss,
            accuracy=found.accuracy,
            evaluated_tokens=found.tokens,
            parameters=self._genesis.schema.parameter_values,
            exchanges=exchanges,
            steps=counters.steps,
            tokens=counters.tokens,
            age=sum(w.age_256 for w in own) / (256 * exchanges),
            aggregate_bytes=self._aggregate_bytes,
            seconds=seconds,
            traffic={str(w): t.traffic() for w, t in self._tally.items()},
            glances=tuple(self._glances),
            waits_s={str(w): tuple(m.waits_s) for w, m in self._metrics.items()},
        )

    async def _play(self) -> None:
        """Start everybody; return when the coordinator says that the run is over."""
        host = Host("c1", _nobody_dies, _nothing)
        coordinator = SimulatedCoordinator(
            self._genesis,
            host=host,
            root=self._root / "coordinator",
            server=MemoryServer(),
            rng=self._rng,
            serving=self._serves,
            watch=self._watch,
            timings=_TIMINGS,
            commit_s=(COMMIT_S, COMMIT_S),
        )
        leading = host.run(coordinator.run())
        hosts = [host, *(Host(c.name, _nobody_dies, _nothing) for c in self._run.clouds)]
        workers = [
            h.run(self._worker(cloud, h).run())
            for cloud, h in zip(self._run.clouds, hosts[1:], strict=True)
        ]
        try:
            await asyncio.wait((leading, *workers), return_when=asyncio.FIRST_COMPLETED)
            for task in workers:
                if task.done() and not _is_over(task.exception()):
                    task.result()
            await leading
        finally:
            for each in hosts:
                each.kill()
            while others := asyncio.all_tasks() - {asyncio.current_task()}:  # they unwind
                await asyncio.wait(others)

    def _worker(self, cloud: Cloud, host: Host) -> "_LearningWorker":
        name = WorkerId(cloud.name)
        worker = _LearningWorker(
            name,
            self._genesis,
            host=host,
            root=self._root / cloud.name,
            data=dict(cloud.data),
            max_steps_per_s=cloud.steps_per_s,
            network=self._network,
            rng=self._rng,
            metrics=self._metrics[name],
            history=WorkHistory(_nothing, _nothing),
        )
        worker.cloud, worker.tally = cloud, self._tally[name]
        return worker

    def _serves(self, coordinator: SimulatedCoordinator) -> None:
        self._network.server = coordinator

    def _watch(self, coordinator: SimulatedCoordinator, effect: Effect) -> None:
        if not isinstance(effect, Append) or effect.record.commit is None:
            return
        self._newest = record = effect.record
        self._aggregate_bytes += effect.record.commit.aggregate_bytes
        if self._glancing is not None and record.version % self._run.glance_every == 0:
            self._glances.append(self._glance(self._glancing, record))
        self._said(record)

    def _glance(self, evaluator: "_Evaluator", record: Record) -> Glance:
        found = self._evaluate(evaluator, record.digest)
        tally = self._tally.values()
        return Glance(
            version=record.version,
            steps=record.counters.steps,
            tokens=record.counters.tokens,
            seconds=asyncio.get_running_loop().time(),
            loss=found.loss,
            accuracy=found.accuracy,
            up_bytes=sum(t.up.get("update", 0) for t in tally),
            down_bytes=sum(t.down.get("aggregate", 0) for t in tally),
        )

    def _evaluator(self, data: Mapping[str, Json]) -> "_Evaluator":
        genesis = self._genesis
        context = LearnerContext(genesis.settings, data, genesis.seed, "evaluator")
        learner = build_learner(genesis, context)
        return _Evaluator(learner, ParameterVector(learner))

    def _evaluate(self, evaluator: "_Evaluator", digest: Digest) -> Validation:
        version = canonical.decode(self._store.read(digest), Version)
        load_version(evaluator.vector, version, self._store)
        found = evaluator.learner.evaluate()
        if not math.isfinite(found.loss):
            raise ConfigError(f"the validation loss is {found.loss}: lower schedule.peak")
        return found


@dataclass(frozen=True, slots=True)
class _Evaluator:
    learner: Learner
    vector: ParameterVector


@dataclass(slots=True)
class _Tally:
    """Counts one worker's bytes."""

    up: dict[str, int] = field(default_factory=dict)
    down: dict[str, int] = field(default_factory=dict)

    def says(self, message: session_pb2.ConnectResponse) -> None:
        """The coordinator sends it a message."""
        self.count(self.down, "control", message.ByteSize())

    def hears(self, message: session_pb2.ConnectRequest) -> None:
        """It sends one."""
        self.count(self.up, "control", message.ByteSize())

    def count(self, way: dict[str, int], kind: str, num_bytes: int) -> None:
        """Add to one kind."""
        way[kind] = way.get(kind, 0) + num_bytes

    def traffic(self) -> Traffic:
        """Return what was counted."""
        return Traffic(dict(self.up), dict(self.down))


class _Metrics(WorkerMetrics):
    """Keeps what a run's figures are made of."""

    def __init__(self) -> None:
        super().__init__(run=RUN, worker="w", software="0", tells_loss=False)
        self.waits_s: list[float] = []

    @override
    def took(self, phase: WorkerPhase, seconds: float) -> None:
        if phase == "words":
            self.waits_s.append(seconds)


class _LearningWorker(SimulatedWorker):
    """A worker whose transfers are counted, and take their time."""

    cloud: Cloud
    tally: _Tally

    @override
    async def _push(
        self,
        round_id: RoundId,
        num_shards: int,
        read_shard: Callable[[int], bytes],
        *,
        give_up: Event,
    ) -> None:
        num_bytes = sum(len(read_shard(i)) for i in range(num_shards))
        self.tally.count(self.tally.up, "update", num_bytes)
        if self.cloud.up_bps:
            await asyncio.sleep(8 * num_bytes / self.cloud.up_bps)
        await super()._push(round_id, num_shards, read_shard, give_up=give_up)

    @override
    def _fetch(self, digest: Digest, kind: str, store: DataStore, most_bytes: int) -> None:
        super()._fetch(digest, kind, store, most_bytes)
        num_bytes = store.size(digest)
        self.tally.count(self.tally.down, kind, num_bytes)
        if self.cloud.down_bps:  # the file is there, but nobody looks before its time
            raise TryAgainError(8 * num_bytes / self.cloud.down_bps)


def _is_over(error: BaseException | None) -> bool:
    return isinstance(error, EndedError) and error.status == Exit.OVER


def _nobody_dies(host: Host) -> None:
    raise AssertionError(f"{host.name} dies in a run without faults")


def _nothing(*_: object) -> None:
    pass


@contextmanager
def _virtual_time() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(pauses=False)
    failures: list[BaseException] = []

    def note(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception):
            failures.append(error)

    loop.set_exception_handler(note)
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    if failures:
        raise failures[0]
