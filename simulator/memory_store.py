"""The live state in memory: the simulator's fake of `RedisStore`, under the same contract suite.

One `MemoryServer` stands for the server; a copy of it is the state to which a test can rewind.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf

from common.errors import StaleLeaderError
from coordinator.ports import Put, Table
from services.coordinator.live.store import Changes, StoredState, StoreMemory, Tables, round_ttl_s


def _no_tables() -> dict[Table, dict[str, bytes]]:
    return {table: {} for table in Table}


@dataclass(slots=True)
class MemoryServer:
    """What the server holds for one run.

    Args:
        leader_until_s, round_until_s: when the lease and the round table run out, on the clock of
            the stores.
        last_changes: what led to `op_seq`.
    """

    tables: dict[Table, dict[str, bytes]] = field(default_factory=_no_tables)
    op_seq: int = 0
    last_changes: Changes | None = None
    leader: str = ""
    leader_until_s: float = 0.0
    round_until_s: float = inf

    def copy(self) -> "MemoryServer":
        """Return this state, to which a test can rewind."""
        return replace(self, tables={table: dict(f) for table, f in self.tables.items()})


class MemoryLease:
    """One coordinator's lease on a `MemoryServer`."""

    def __init__(self, server: MemoryServer, owner: str, now_s: Callable[[], float]) -> None:
        self._server = server
        self._owner = owner
        self._now_s = now_s

    @property
    def holder(self) -> str:
        """Who holds the lease now, or ""."""
        return self._server.leader if self._now_s() < self._server.leader_until_s else ""

    def acquire(self, ttl_s: float) -> bool:
        """Take the lease, or prolong it where it is held; False while another holds it."""
        if self.holder not in ("", self._owner):
            return False
        self._server.leader = self._owner
        self._server.leader_until_s = self._now_s() + ttl_s
        return True

    def renew(self, ttl_s: float) -> bool:
        """Prolong the lease; False where it ran out, even if nobody took it."""
        return self.holder == self._owner and self.acquire(ttl_s)

    def release(self) -> None:
        """Give the lease up; where another holds it nothing happens."""
        if self.holder == self._owner:
            self._server.leader = ""


class MemoryStore:
    """One coordinator's view of a `MemoryServer`.

    Args:
        now_s: the clock that leases and expiry go by.
    """

    def __init__(self, server: MemoryServer, owner: str, now_s: Callable[[], float]) -> None:
        self._server = server
        self._owner = owner
        self._now_s = now_s
        self._op_seq = 0
        self._lease = MemoryLease(server, owner, now_s)

    @property
    def lease(self) -> MemoryLease:
        """This coordinator's lease."""
        return self._lease

    async def load(self) -> StoredState:
        """Return everything; later changes are compared with this op_seq."""
        self._expire()
        self._op_seq = self._server.op_seq
        return StoredState(self._op_seq, {t: dict(f) for t, f in self._server.tables.items()})

    async def apply(self, changes: Changes) -> None:
        """Make all changes or none. See `Store.apply`."""
        self._expire()
        self._check_lease()
        server, wanted = self._server, self._op_seq + 1
        if (server.op_seq, server.last_changes) != (wanted, changes):
            if server.op_seq != self._op_seq:
                raise StaleLeaderError(
                    f"the store stands at change {server.op_seq}, expected {self._op_seq}"
                )
            self._make(changes)
            server.op_seq, server.last_changes = wanted, changes
        self._op_seq = wanted

    async def reset(self, tables: Tables) -> None:
        """Replace everything by `tables`, at an op_seq above all that were seen before."""
        self._check_lease()
        server = self._server
        server.tables = _no_tables() | {t: dict(fields) for t, fields in tables.items()}
        server.op_seq = self._op_seq = max(server.op_seq, self._op_seq) + 1
        server.last_changes, server.round_until_s = None, inf

    async def memory(self) -> StoreMemory:
        """Return that there is no limit."""
        return StoreMemory(0, 0)

    async def close(self) -> None:
        """Nothing to close."""

    def _check_lease(self) -> None:
        if (holder := self._lease.holder) != self._owner:
            raise StaleLeaderError(f"the run is led by {holder or 'nobody'}, not by {self._owner}")

    def _make(self, changes: Changes) -> None:
        server = self._server
        for change in changes:
            fields = server.tables[change.table]
            if isinstance(change, Put):
                fields[change.field] = change.value
            else:
                fields.pop(change.field, None)
        if (ttl_s := round_ttl_s(changes)) is not None:
            server.round_until_s = self._now_s() + ttl_s

    def _expire(self) -> None:
        if self._now_s() >= self._server.round_until_s:
            self._server.tables[Table.ROUND].clear()
            self._server.round_until_s = inf
