"""One history: a whole run in virtual time, in which things go wrong, and then no more.

    faults for a few seconds -> calm: a version must come -> pause: everybody settles -> checks

Here is its course. Its machines are in `world.py`; `supervisor.py` starts again what ended,
`injector.py` lets things go wrong, `watcher.py` looks on. The same seed gives the same history.
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc

from common.errors import ProtocolError, StorageError
from simulator.checks import violations
from simulator.clock import NothingHappensError, VirtualLoop
from simulator.disk import watched
from simulator.faults import Fault, PauseCoordinator, faults_s
from simulator.injector import FaultInjector
from simulator.operator import SimulatedOperator
from simulator.supervisor import Supervisor
from simulator.turn_thread import Killed
from simulator.watcher import Watcher
from simulator.world import SimulatedWorld

CALM_S: Final = 40.0
"""Virtual seconds within which a version must come, and then everybody must settle."""


class BrokenError(AssertionError):
    """The history broke a promise; the message says which."""


class SimulatedFederation:
    """See the module docstring.

    Args:
        root: an empty folder, in memory if possible.
        faults: what goes wrong.
    """

    def __init__(self, seed: int, root: Path, faults: tuple[Fault, ...]) -> None:
        self.world = SimulatedWorld(seed, root, faults)
        self._watcher = Watcher(self.world)
        self.supervisor = Supervisor(self.world, self._watcher)
        self._operator = SimulatedOperator(self.world)
        self._injector = FaultInjector(self.world, self._operator)

    @property
    def transcript(self) -> list[str]:
        """What was told, line by line."""
        return self.world.transcript

    def run(self) -> None:
        """Play the history.

        Raises:
            BrokenError: a promise was broken.
        """
        world = self.world
        random.seed(world.seed)  # the jitter of the services' own pauses
        pauses = any(isinstance(f, PauseCoordinator) for f in world.faults)
        loop = world.loop = VirtualLoop(pauses=pauses)
        loop.set_exception_handler(self._unheard)
        try:
            with watched(world.disk, *(p.disk for p in world.places)), _current(loop):
                loop.run_until_complete(self._play())
        except NothingHappensError:
            raise BrokenError("everybody waits for ever") from None
        finally:
            loop.close()
        if world.broken:
            raise BrokenError(world.broken)

    async def _play(self) -> None:
        world = self.world
        tasks = self.supervisor.start() + self._injector.start()
        try:
            until_s = faults_s(world.seed)
            await self._until(lambda: world.loop.time() >= until_s, until_s + 1, "")
            self._injector.calm()
            before = world.version()
            await self._until(
                lambda: world.version() > before,
                CALM_S,
                f"(vii) no version after {before} within {CALM_S:g} s of calm",
            )
            if not await self._operator.pause():
                raise BrokenError("(vii) nobody leads")
            await self._until(world.settled, CALM_S, "(vii) not everybody settles", streak=3)
            self._check()
        finally:
            await self._end(tasks)

    def _check(self) -> None:
        world = self.world
        assert world.serving is not None
        lives = [p.life for p in world.places if p.life is not None]
        # A leader that is paused between a Save and its OpenSpool leaves an empty folder behind.
        left_behind = sum(isinstance(f, PauseCoordinator) for f in world.faults)
        for sentence in violations(
            world.genesis,
            world.files,
            world.serving,
            lives,
            self._watcher.aggregates,
            left_behind,
        ):
            world.breaks(sentence)
        self._operator.check()

    async def _until(
        self, reached: Callable[[], bool], within_s: float, otherwise: str, streak: int = 1
    ) -> None:
        """Wait until something is so at `streak` looks one after the other."""
        world, held = self.world, 0
        until_s = world.loop.time() + within_s
        while held < streak:
            if world.broken:
                raise BrokenError(world.broken)
            if world.loop.time() > until_s:
                raise BrokenError(f"{otherwise}: {world.where()}")
            held = held + 1 if reached() else 0
            await asyncio.sleep(0.5)

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        for host in self.world.hosts():
            host.kill()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:  # they unwind
            for other in others:
                other.cancel()
            await asyncio.sleep(0.5)

    def _unheard(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        expected = Killed | StorageError | ProtocolError | grpc.RpcError
        if error is not None and not isinstance(error, expected):
            self.world.breaks(f"{context['message']}: {type(error).__name__}: {error}")


@contextmanager
def _current(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
