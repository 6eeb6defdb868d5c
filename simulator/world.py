"""What a history takes place in: machines and their disks, network, store, and who leads.

It knows what is there and what was told, and does nothing of its own: `supervisor.py` keeps its
processes alive, `injector.py` lets things go wrong, `watcher.py` looks on.
"""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from common import canonical
from common.chain import genesis_version
from common.documents import Genesis, Stop
from common.ids import Digest, WorkerId
from services.coordinator.kept.files import CoordinatorFiles
from services.disk.data_store import DataStore
from simulator.checks import zeros
from simulator.clock import VirtualLoop
from simulator.coordinator import SimulatedCoordinator
from simulator.disk import Disk
from simulator.eavesdropper import Marks
from simulator.faults import BadLinks, Fault, KillWorker, Rewind
from simulator.host import Host
from simulator.identities import RUN, WORKERS, identities
from simulator.memory_store import MemoryServer
from simulator.network import Network
from simulator.records import schema_of
from simulator.runs import algorithm_of, num_blocks, num_workers
from simulator.work_history import WorkHistory
from simulator.worker import SimulatedWorker

_RUN_SEED: Final = 1


@dataclass
class WorkerPlace:
    """One worker's machine, over all lives of its process."""

    index: int
    name: WorkerId
    disk: Disk
    max_steps_per_s: float
    fates: list[KillWorker]
    history: WorkHistory = field(init=False)
    life: SimulatedWorker | None = None

    def durable_marks(self) -> Marks:
        """Return what a power cut would leave on its disk of its unresolved round."""
        assert self.life is not None
        path = self.life.working.state.stage.document
        if not path.is_file() or not self.disk.holds(path):
            return Marks()
        stage = json.loads(path.read_bytes())
        return Marks(stage["plan"]["round"], stage["exposed"], stage["revealed"])


class SimulatedWorld:
    """See the module docstring.

    Args:
        root: an empty folder, in memory if possible.
        faults: what goes wrong.
    """

    def __init__(self, seed: int, root: Path, faults: tuple[Fault, ...]) -> None:
        self.seed = seed
        self.faults = faults
        self.loop: VirtualLoop
        self.transcript: list[str] = []
        self.broken = ""
        self.is_calm = False
        self.lied_to: set[str] = set()
        self.server = MemoryServer()
        self.former: list[MemoryServer] = []
        self.is_rewound = any(isinstance(f, Rewind) for f in faults)
        self.leaders: list[Host] = []
        self.coordinators: list[SimulatedCoordinator] = []
        self.serving: SimulatedCoordinator | None = None
        self.rng = random.Random(seed)  # noqa: S311 - a simulation
        identities()  # before any disk is watched
        self.files = CoordinatorFiles(root / "coordinator")
        self.disk = Disk(self.files.folder)
        self.data = DataStore(self.files.data)
        algorithm = algorithm_of(seed)
        schema = schema_of(num_blocks(seed))
        self.version0 = genesis_version(schema, algorithm, _RUN_SEED, zeros, self.data.write)
        self.genesis = Genesis(
            run=RUN,
            seed=_RUN_SEED,
            learner="simulator.learner:build",
            settings={
                "num_values": schema.parameter_values,
                "num_averaged": schema.buffer_values,
            },
            schema=schema,
            version0=self.data.write(canonical.encode(self.version0)),
            algorithm=algorithm,
            stop=Stop(versions=10**6),
        )
        self.disk = Disk(self.files.folder)  # what is there now is durable
        self.places = [
            WorkerPlace(
                index=i,
                name=name,
                disk=Disk(root / name),
                max_steps_per_s=self.rng.choice((1.5, 2.0, 3.0)),
                fates=[f for f in faults if isinstance(f, KillWorker) and f.worker == i],
            )
            for i, name in enumerate(WORKERS[: num_workers(seed)])
        ]
        self.network = Network(self.rng)
        for fault in faults:
            if isinstance(fault, BadLinks):
                self.network.duplicates, self.network.cuts = fault.duplicates, fault.cuts

    def tell(self, line: str) -> None:
        """Add a line to the transcript."""
        self.transcript.append(f"{self.loop.time():8.3f} {line}")

    def breaks(self, sentence: str) -> None:
        """Note a promise that was broken; the first one ends the history."""
        self.tell(f"BROKEN: {sentence}")
        self.broken = self.broken or sentence

    def hosts(self) -> list[Host]:
        """Return every machine on which a process may live."""
        return [*self.leaders, *(p.life.host for p in self.places if p.life is not None)]

    def let_serve(self, coordinators: list[SimulatedCoordinator]) -> None:
        """The newest of these is found under the coordinator's address from now on."""
        newest = max(coordinators, key=lambda c: int(c.host.name[1:]), default=None)
        if self.serving is not None and newest is not self.serving:
            self.network.cut(self.serving.host)
        self.coordinators = coordinators
        self.network.server = self.serving = newest

    def file(self, digest: Digest) -> bytes | None:
        """Return a file of the coordinator that serves; None where nobody has it."""
        return None if self.serving is None else self.serving.file(digest)

    def version(self) -> int:
        """Return the head's number, 0 while nobody leads."""
        if self.serving is None:
            return 0
        return self.serving.core.status(self.loop.time()).version

    def settled(self) -> bool:
        """Return whether the run is paused and every worker has heard all."""
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

    def where(self) -> str:
        """Return how far everybody is, for a person."""
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
