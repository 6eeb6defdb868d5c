"""A person who asks for roll-backs and a pause. What they are told has to be so."""

import asyncio

from common import canonical
from common.documents import Version
from common.errors import ProtocolError, StorageError
from coordinator.ports import Command, Operated
from services.coordinator.kept.log_store import record_path
from simulator.records import records_of
from simulator.turn_thread import Killed
from simulator.world import SimulatedWorld


class SimulatedOperator:
    """See the module docstring."""

    def __init__(self, world: SimulatedWorld) -> None:
        self._world = world
        self._num_asked = 0
        self._returned: list[str] = []

    async def pause(self) -> bool:
        """Ask for a pause until somebody heard it; return whether anybody did."""
        for _ in range(20):
            serving = self._world.serving
            if serving is not None and serving.host.alive:
                try:
                    pause = serving.driver.feed(Operated(Command.PAUSE, "tester"))
                    await serving.host.run(pause)
                    return True
                except (StorageError, Killed):
                    pass
            await asyncio.sleep(1.0)
        return False

    async def roll_back(self, back: int) -> None:
        """Ask once for the version so many before the head."""
        world = self._world
        while world.serving is None or not world.serving.host.alive or world.serving.host.paused:  # noqa: ASYNC110
            await asyncio.sleep(0.3)
        asked, head = world.serving, world.version()
        version, self._num_asked = max(0, head - back), self._num_asked + 1
        name = f"tester{self._num_asked}"
        world.tell(f"{name} asks {asked.host.name}, on version {head}, for version {version}")
        task = asked.host.run(asked.roll_back(version, name))
        await asyncio.wait((task,))
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or isinstance(error, Killed | StorageError):
            world.tell(f"{name} does not know")
        elif error is not None:
            world.tell(f"{name} is told: {type(error).__name__}: {error}")
            if not isinstance(error, ProtocolError):
                raise error
        elif version >= head:
            world.breaks(f"(iii) version {version} returned when the run was on {head}")
        else:
            world.tell(f"{name} is told that it is done")
            self._returned.append(name)
            self._check_returned(name)

    def _check_returned(self, name: str) -> None:
        world = self._world
        found = records_of(world.files.log)
        record = next((r for r in found if r.rollback is not None and r.rollback.by == name), None)
        if record is None or not world.disk.holds(record_path(world.files.log, record.seq)):
            world.breaks(f"(ii) {name} is told of a roll-back that the log may lose")
            return
        version = canonical.decode(world.data.read(record.digest), Version)
        if damaged := world.data.damaged((record.digest, *version.blobs())):
            world.breaks(f"(iii) {name}'s version returned without {len(damaged)} of its files")

    def check(self) -> None:
        """At the end: what was done for an operator stands in the log."""
        records = records_of(self._world.files.log)
        by = {r.rollback.by for r in records if r.rollback is not None}
        for name in self._returned:
            if name not in by:
                self._world.breaks(f"(i) the roll-back that {name} was told of is not in the log")
