"""The port to the live state: what a restarted coordinator finds besides the commit log.

It is a cache with a lock: whatever it loses is rebuilt from the log. `RedisStore` is the real one,
`simulator/memory_store.py` the fake; tests/integration/test_store_contract.py holds both
to what is written here.

Every change is a compare-and-set on (leader, op_seq): only the holder of the lease may write, and
only if nothing moved since it last looked. On StaleLeaderError call `lease.acquire` again: if that
holds, and the log has no newer takeover, the store went back in time and `reset` rebuilds it;
otherwise another coordinator leads and this one exits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

from coordinator.ports import Delete, Put, Table
from coordinator.saved_round import OUTCOME

OUTCOME_TTL_S: Final = 600.0
"""Seconds that a round with an outcome stays, for people who look."""

Tables = Mapping[Table, Mapping[str, bytes]]
Changes = tuple[Put | Delete, ...]


@dataclass(frozen=True, slots=True)
class StoredState:
    """All tables at one instant; every `Table` is a key, empty ones too.

    Args:
        op_seq: changes since the run began; it only grows, unless the server lost some.
        lost: what is there and cannot be read, a sentence each; its table is empty here. Before
            anything else, `reset`.
    """

    op_seq: int
    tables: Tables
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreMemory:
    """Memory of the server; of a cluster, of the primary that has the least room.

    Args:
        used_bytes: in use.
        max_bytes: limit; 0 = none.
    """

    used_bytes: int
    max_bytes: int

    @property
    def share(self) -> float:
        """How full it is; 0 without a limit."""
        return self.used_bytes / self.max_bytes if self.max_bytes else 0.0


def round_ttl_s(changes: Changes) -> float | None:
    """Return how long the round table stays after `changes`; inf = always, None = as before."""
    fields = {c.field for c in changes if isinstance(c, Put) and c.table is Table.ROUND}
    if not fields:
        return None
    return OUTCOME_TTL_S if OUTCOME in fields else inf


class Lease(Protocol):
    """The right to lead. It blocks, so that a thread of its own can keep it through a busy loop."""

    def acquire(self, ttl_s: float) -> bool:
        """Take the lease, or prolong it where it is held; False while another holds it."""

    def renew(self, ttl_s: float) -> bool:
        """Prolong the lease; False where it ran out, even if nobody took it."""

    def release(self) -> None:
        """Give the lease up; where another holds it nothing happens."""


class Store(Protocol):
    """The tables of one run, for one coordinator."""

    @property
    def lease(self) -> Lease:
        """This coordinator's lease."""

    async def load(self) -> StoredState:
        """Return everything, whoever wrote it; later changes are compared with this op_seq.

        A field's name that is no UTF-8 keeps its bytes as `surrogateescape` spells them.
        """

    async def apply(self, changes: Changes) -> None:
        """Make all changes or none; a later change of a field wins.

        A call that got no answer may be repeated with the same changes: they are made once.

        Raises:
            StaleLeaderError: the lease is not held, or op_seq is not the one of the last call.
            StorageError: no answer; whether the changes were made is unknown.
        """

    async def reset(self, tables: Tables) -> None:
        """Replace everything by `tables`, at an op_seq above all that were seen before.

        Raises:
            StaleLeaderError: the lease is not held.
        """

    async def memory(self) -> StoreMemory:
        """Return how full the server is.

        Raises:
            StorageError: it does not answer.
        """

    async def close(self) -> None:
        """Close the connections."""
