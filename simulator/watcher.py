"""What is seen of a history while it goes on: each word on the wire, each record, each effect.

It looks from outside and changes nothing. What breaks a promise at the moment it is said is broken
here; what can be asked only at the end, `checks.py` asks.
"""

import functools

from common import canonical
from common.documents import Record, Version
from common.ids import Digest, RoundId, WorkerId
from coordinator.ports import Append, Effect, Publish, Save, Send
from protos.v1 import session_pb2
from services.coordinator.kept.log_store import record_path
from services.disk.data_store import DataStore
from simulator.coordinator import SimulatedCoordinator
from simulator.eavesdropper import Eavesdropper
from simulator.records import summary
from simulator.verified import Verified
from simulator.work_history import WorkHistory
from simulator.world import SimulatedWorld


class Watcher:
    """See the module docstring.

    Args:
        world: is looked at from now on.
    """

    def __init__(self, world: SimulatedWorld) -> None:
        self._world = world
        self._durable_records: set[bytes] = set()
        self.aggregates: dict[Digest, bytes] = {}
        self._verified = Verified(world.genesis, world.version0, world.breaks)
        self._eavesdropper: Eavesdropper | None = None
        for place in world.places:
            froze = functools.partial(self._froze, place.name)
            place.history = WorkHistory(froze, functools.partial(self._verified.given, place.name))
        world.network.said, world.network.heard = self._said, self._heard
        if world.genesis.algorithm.masked:
            places = {p.name: p for p in world.places}
            self._eavesdropper = Eavesdropper(
                world.genesis.algorithm,
                places,
                lambda name: places[name].durable_marks(),
                world.breaks,
            )
            world.network.uploads = self._eavesdropper.uploads

    def power_cut(self) -> None:
        """What was durable has to be shown to be so again."""
        self._durable_records.clear()

    def effect(self, coordinator: SimulatedCoordinator, effect: Effect) -> None:
        """A coordinator's driver has carried an effect out."""
        match effect:
            case Save():
                if self._world.is_rewound:
                    self._world.former.append(self._world.server.copy())
            case Append(record):
                self._world.tell(f"{coordinator.host.name} appended {summary(record)}")
                self.recorded(record)
            case Send(_, message):
                self._world.tell(f"{coordinator.host.name} sent {type(message).__name__}")
            case Publish():
                pass

    def recorded(self, record: Record) -> None:
        """See a record of the true log."""
        data = DataStore(self._world.files.data)  # opening it is an act of whoever appends
        read = functools.partial(data.read, record.digest)
        self._verified.recorded(record, lambda: canonical.decode(read(), Version))
        if self._eavesdropper is not None:
            self._eavesdropper.recorded(record)
        if record.commit is not None and record.commit.aggregate not in self.aggregates:
            path = self._world.files.data / record.commit.aggregate
            if path.is_file():
                self.aggregates[record.commit.aggregate] = path.read_bytes()

    def _heard(self, worker: WorkerId, boot: str, message: session_pb2.ConnectRequest) -> None:
        self._verified.sent(worker, message)
        if self._eavesdropper is not None:
            self._eavesdropper.sent(worker, boot, message)

    def _froze(self, worker: WorkerId, round_id: RoundId, steps: frozenset[int]) -> None:
        if self._eavesdropper is not None:
            self._eavesdropper.froze(worker, round_id, steps)

    def _said(self, worker: WorkerId, message: session_pb2.ConnectResponse) -> None:
        self._verified.told(message)
        if self._eavesdropper is not None:
            self._eavesdropper.told(message)
        kind = message.WhichOneof("message")
        if kind == "outcome":
            content = message.outcome.record
        elif kind == "welcome":
            content = message.welcome.start_record
        else:
            return
        if content in self._durable_records:  # since the last power cut
            return
        record = canonical.decode(content, Record)
        path = record_path(self._world.files.log, record.seq)
        durable = path.is_file() and path.read_bytes() == content and self._world.disk.holds(path)
        if durable:
            self._durable_records.add(content)
        else:
            told = f"{worker} is told of record {record.seq}"
            self._world.breaks(f"(ii) {told}, which the log may lose")
