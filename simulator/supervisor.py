"""Starts a history's processes, and starts again what ended; each life may have its fate."""

import asyncio
import functools
from collections.abc import Coroutine
from typing import Any, Final

from common import canonical
from common.documents import Record
from common.errors import DamagedDataError, DivergedError, ProtocolError, StorageError
from services.observe.metrics.worker import WorkerMetrics
from services.wire.child import ChildEndedError
from simulator.coordinator import SimulatedCoordinator
from simulator.faults import KillCoordinator, Loss, PauseCoordinator
from simulator.host import Host
from simulator.identities import RUN
from simulator.turn_thread import Killed
from simulator.watcher import Watcher
from simulator.worker import SimulatedWorker
from simulator.world import SimulatedWorld, WorkerPlace

_METRICS: Final = WorkerMetrics(run=RUN, worker="w", software="0", tells_loss=False)


class Supervisor:
    """See the module docstring."""

    def __init__(self, world: SimulatedWorld, watcher: Watcher) -> None:
        self._world = world
        self._watcher = watcher
        self._num_lives = 0
        self._fates = [f for f in world.faults if isinstance(f, KillCoordinator | PauseCoordinator)]

    def start(self) -> list[asyncio.Task[None]]:
        """Start the coordinator and every worker; cancelling these lets nothing start again."""
        keep = [asyncio.create_task(self._coordinator())]
        return keep + [asyncio.create_task(self._worker(p)) for p in self._world.places]

    async def _coordinator(self) -> None:
        while True:
            await self._lead()
            await asyncio.sleep(self._world.rng.uniform(0.2, 1.5))
            while any(h.alive for h in self._world.leaders):  # noqa: ASYNC110 - a standby leads by now
                await asyncio.sleep(0.5)

    async def _lead(self) -> None:
        world = self._world
        self._num_lives += 1
        host = Host(f"c{self._num_lives}", self._coordinator_died, world.tell)
        world.leaders = [h for h in world.leaders if h.alive] + [host]
        fate = self._fates.pop(0) if self._fates and not world.is_calm else None
        if isinstance(fate, KillCoordinator):
            host.dies_at, host.counted, host.fate = fate.act, fate.before, fate.loss
        elif isinstance(fate, PauseCoordinator):
            host.pauses_at, host.counted = fate.act, fate.before
            host.paused_for_s = fate.lasting_s
            host.on_pause = lambda: self._standby()
        coordinator = SimulatedCoordinator(
            world.genesis,
            host=host,
            root=world.files.folder,
            server=world.server,
            rng=world.rng,
            serving=self._serves,
            watch=self._watcher.effect,
        )
        await self._outlive(host, coordinator.run(), (StorageError, ChildEndedError))

    def _standby(self) -> None:
        self._standing_by = asyncio.create_task(self._lead())

    def _serves(self, coordinator: SimulatedCoordinator) -> None:
        self._world.tell(f"{coordinator.host.name} leads")
        self._world.let_serve([*self._world.coordinators, coordinator])
        for content in coordinator.tail_records():
            self._watcher.recorded(canonical.decode(content, Record))

    def _coordinator_died(self, host: Host) -> None:
        world = self._world
        world.tell(f"{host.name} dies before {host.last_act}: {host.fate.value}")
        if host.fate is not Loss.PROCESS:
            for other in world.leaders:
                other.kill()
                world.network.cut(other)
            world.disk.cut_power(world.rng, keep=host.fate is Loss.SOME)
            self._watcher.power_cut()

    async def _worker(self, place: WorkerPlace) -> None:
        world = self._world
        while True:
            host = Host(str(place.name), functools.partial(self._worker_died, place), world.tell)
            if place.fates and not world.is_calm:
                fate = place.fates.pop(0)
                host.dies_at, host.counted, host.fate = fate.act, fate.before, fate.loss
            place.life = SimulatedWorker(
                place.name,
                world.genesis,
                host=host,
                root=place.disk.root,
                data={"index": place.index},
                max_steps_per_s=place.max_steps_per_s,
                network=world.network,
                rng=world.rng,
                metrics=_METRICS,
                history=place.history,
            )
            await self._outlive(host, place.life.run(), (StorageError,))
            await asyncio.sleep(world.rng.uniform(0.2, 2.0))

    def _worker_died(self, place: WorkerPlace, host: Host) -> None:
        when = f" before {host.last_act}" if host.last_act else ""
        self._world.tell(f"{host.name} dies{when}: {host.fate.value}")
        if host.fate is not Loss.PROCESS:
            place.disk.cut_power(self._world.rng, keep=host.fate is Loss.SOME)

    async def _outlive(
        self, host: Host, life: Coroutine[Any, Any, None], ends: tuple[type[Exception], ...]
    ) -> None:
        """Return when a life ended; some ends are part of the protocol, others are bugs."""
        world, task = self._world, host.run(life)
        await asyncio.wait((task,))
        host.kill()
        world.network.cut(host)
        world.let_serve([c for c in world.coordinators if c.host.alive])
        error = None if task.cancelled() else task.exception()
        if error is None or isinstance(error, Killed):
            return
        world.tell(f"{host.name} ended: {type(error).__name__}: {error}")
        refuses = host.name in world.lied_to and isinstance(error, DivergedError | ProtocolError)
        if isinstance(error, DamagedDataError) or not (refuses or isinstance(error, ends)):
            world.breaks(f"{host.name} cannot go on: {type(error).__name__}: {error}")
