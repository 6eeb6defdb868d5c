"""One leader of a run: core, driver, log, live state, what is kept, open sessions and children.

All of a coordinator that touches no socket, starts no process and reads no clock: what is around it
is given to it. `main.py` puts it between gRPC and processes, the simulation into virtual time.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from common import canonical
from common.documents import Genesis, Record
from common.errors import ProtocolError, UnknownFileError
from common.ids import RoundId, SessionId
from common.outer import state_lengths
from common.parties import Admits
from common.rounds import Phase
from coordinator.head import RunHead
from coordinator.plan import Timings
from coordinator.ports import (
    Compute,
    DropSpool,
    Effect,
    Event,
    Message,
    OpenSpool,
    Restored,
    RestoreFailed,
    Seal,
)
from coordinator.run import Run
from coordinator.words import origin_of
from services.coordinator.drain import drain
from services.coordinator.driver import Driver
from services.coordinator.kept.log_store import LogStore
from services.coordinator.kept.retention import Retention
from services.coordinator.kept.spool import Spool
from services.coordinator.live.resilient_store import ResilientStore
from services.coordinator.messages import TakeOver
from services.coordinator.processes import ChildPort, Processes, Watch
from services.coordinator.sessions import convert
from services.coordinator.sessions.admission import Admission
from services.coordinator.sessions.servicers import Moved, SessionService, nowhere
from services.coordinator.sessions.streams import LogTail, Sessions, StreamQuota
from services.coordinator.watch.reports import Reports
from services.trust.identity import MemberList

log = logging.getLogger(__name__)

NO_ROUND: Final = Phase.COLLECTING_OFFERS.value


class Leading:
    """See the module docstring. The lease is held when this is made.

    Args:
        name: this leader's, in the log.
        store: the live state.
        commit_log: not loaded yet.
        spool: the bulk process's; it is only read.
        snapshot_every: commits between snapshots.
        new_round_id: draws one.
        now_s: seconds of a clock that never goes back.
        unix_offset_s: Unix time minus that clock.
        reports: what workers say of themselves.
        quota: of streams of the control port.
        watch: sees every effect that was carried out, and how long it took.
        recall: sees every record that the log holds already.
        admits: says whose certificate it is that a worker sent.
        evaluators: the same of an evaluator.
    """

    def __init__(
        self,
        genesis: Genesis,
        *,
        name: str,
        store: ResilientStore,
        commit_log: LogStore,
        spool: Spool,
        snapshot_every: int,
        timings: Timings,
        new_round_id: Callable[[], RoundId],
        now_s: Callable[[], float],
        unix_offset_s: float,
        reports: Reports,
        quota: StreamQuota,
        watch: Callable[[Effect, float], None],
        recall: Callable[[Record], None],
        admits: Admits,
        evaluators: Admits,
    ) -> None:
        self._genesis = genesis
        self._store = store
        self._log = commit_log
        self._spool = spool
        self._now_s = now_s
        self._timings = timings
        self.reports = reports
        self.sessions = Sessions()
        self._quota = quota
        self.retention = Retention(genesis.version0, snapshot_every, _version_bytes(genesis))
        self.core = Run(
            genesis,
            head=self._fold_log(recall),
            leader=name,
            new_round_id=new_round_id,
            unix_offset_s=unix_offset_s,
            timings=timings,
            admits=admits,
            evaluators=evaluators,
        )
        self.tail = LogTail(
            commit_log.num_records,
            commit_log.read,
            (self.retention.start_seq, self.retention.first_start_seq),
            commit_log.ends_with_ours,
        )
        self.driver = Driver(
            self.core, store=store, commit_log=commit_log, works=self, now_s=now_s, watch=watch
        )
        self._processes: Processes
        self._tasks: list[asyncio.Task[None]] = []

    def _fold_log(self, recall: Callable[[Record], None]) -> RunHead:
        """Check the log and return what follows from it."""
        self._log.load()
        head = RunHead.of(self._genesis)
        for content in self._log.records():
            record = canonical.decode(content, Record)
            head = head.after(record)
            self.retention.recorded(record)
            recall(record)
        return head

    def session_service(
        self,
        *,
        admission: Admission,
        members: MemberList,
        heartbeat_interval_s: float,
        moved: Moved = nowhere,
    ) -> SessionService:
        """Return the service for workers' control streams."""
        return SessionService(
            self.driver,
            admission=admission,
            members=members,
            sessions=self.sessions,
            reports=self.reports,
            tail=self.tail,
            heartbeat_interval_s=heartbeat_interval_s,
            lease_s=self._timings.lease_s,
            quota=self._quota,
            moved=moved,
        )

    # The life of a leader -------------------------------------------------------------------------

    async def start(self, bulk: ChildPort, commit: ChildPort, watch: Watch) -> None:
        """Take the lead in the log.

        Args:
            bulk: the bulk process, which serves.
            commit: the commit process.
            watch: sees every answer of theirs.
        """
        self._processes = Processes(bulk, commit, self._answered, watch)
        found = await self._store.load()
        left = self._spool.rounds()  # before our takeover: none is a newer leader's
        await self.driver.carry_out(self.core.start(self._now_s(), found))
        for round_id in left:
            await self._processes.to_bulk(DropSpool(round_id))

    async def finished(self, *others: "asyncio.Future[Any]") -> str:
        """Return why the run is over, once it is.

        Args:
            others: what this leader cannot do without, and never ends by itself.

        Raises:
            CrosscloudError: this leader can go on no longer.
        """
        hearing = asyncio.create_task(self._processes.run())
        self._tasks.append(hearing)
        waited: list[asyncio.Future[Any]] = [self.driver.finished, hearing, *others]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        for future in waited:
            if future.done():
                future.result()
        return self.driver.finished.result()

    async def drain(self, drain_s: float) -> None:
        """End on purpose; see `services/coordinator/drain.py`."""
        await drain(
            drain_s,
            quota=self._quota,
            sessions=self.sessions,
            feed=self.feed_late,
            streams_end=self._processes.drain,
            round_is_open=lambda: self.core.status(self._now_s()).phase != NO_ROUND,
        )

    def stop(self) -> None:
        """Hear nothing any more."""
        for task in self._tasks:
            task.cancel()

    async def feed_late(self, event: Event) -> None:
        """Feed what may come after its round is over, which is no error."""
        try:
            await self.driver.feed(event)
        except ProtocolError as e:
            log.info("too late: %s", e)

    async def _answered(self, event: Event) -> None:
        """Feed a process' answer; of a version that returns, say also why it is believed."""
        is_masked = self._genesis.algorithm.masked
        if isinstance(event, Restored) and is_masked and event.version > 0:
            contents = self._log.records(self.retention.seq_of(event.version))
            records = (canonical.decode(content, Record) for content in contents)
            event = replace(event, origin=origin_of(records))
        await self.feed_late(event)

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
            order = self.retention.restoring(version, self._log.commit)
        except UnknownFileError as e:  # the round that was open has committed meanwhile
            failed = RestoreFailed(version, str(e))
            self._tasks.append(asyncio.create_task(self.feed_late(failed)))  # the driver is busy
        else:
            await self._processes.to_commit(order)

    async def send(self, session: SessionId, message: Message) -> None:
        """Queue for one session."""
        self.sessions.send(session, convert.response_of(message), last=convert.is_last(message))

    async def publish(self, record: Record) -> None:
        """Let every follower of the log know; then delete what nobody needs any more.

        Nothing is deleted, and no version made, by a leader that has not taken over (`fence.py`).
        """
        if record.takeover is not None:
            await self._processes.to_commit(TakeOver(record.epoch))
        made = self.retention.recorded(record)
        starts = (self.retention.start_seq, self.retention.first_start_seq)
        await self.tail.grow(record.seq + 1, starts)
        self.sessions.wake()
        if made:
            await self._processes.to_commit(self.retention.collect())


def _version_bytes(genesis: Genesis) -> int:
    """Return about what the files of a version have: theta, and the outer optimiser's state."""
    schema = genesis.schema
    return 4 * (schema.length + sum(state_lengths(genesis.algorithm.outer, schema).values()))
