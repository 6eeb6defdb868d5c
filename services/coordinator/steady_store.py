"""Leading through a bad time of the store: nothing is decided or sent until it answers again.

A store that does not answer is asked again, ever more slowly, for as long as it takes; whoever
waits for a turn of the driver waits with it, so nothing grows. A store that was emptied or went
back in time is rebuilt from a copy of what it answered for, if the lease can be had again and the
log has no record of another leader. Otherwise somebody else leads, and this process ends.
"""

import asyncio
import contextlib
import logging
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from common.errors import StaleLeaderError, StorageError
from coordinator.ports import Put, Table
from services.coordinator.embedded_valkey import EmbeddedValkey
from services.coordinator.redis_store import RedisStore
from services.coordinator.store import Changes, Store, Tables
from services.settings import CoordinatorSettings

log = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_EMBEDDED_OWNER: Final = "embedded"


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store, and how to start its server again if that is ours to do."""

    store: Store
    revive: Callable[[], None]


class SteadyStore:
    """See the module docstring. It leads: the lease is held when this is made.

    Args:
        opened: the store.
        lease_s: until another coordinator may take over.
        log_is_ours: returns whether the log ends with our own record.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        opened: OpenStore,
        lease_s: float,
        log_is_ours: Callable[[], bool],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = opened.store
        self._revive = opened.revive
        self._lease_s = lease_s
        self._log_is_ours = log_is_ours
        self._sleep = sleep
        self._tables: dict[Table, dict[str, bytes]] = {}
        self._one_thread = threading.Lock()  # of the lease and of `revive`

    async def load(self) -> Tables:
        """Return what a former leader left."""
        found = (await self._store.load()).tables
        self._tables = {table: dict(fields) for table, fields in found.items()}
        return found

    async def apply(self, changes: Changes) -> None:
        """Return once the changes are in the store, however long that takes.

        Raises:
            StaleLeaderError: another coordinator leads.
        """
        pause_s, failed = _FIRST_PAUSE_S, False
        while True:
            try:
                await self._try(changes)
            except StaleLeaderError:
                raise
            except StorageError as e:
                if not failed:
                    log.warning("%s; nothing is decided until the store answers", e)
                failed = True
                await self._sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                await asyncio.to_thread(self._restart_server)
            else:
                break
        if failed:
            log.info("the store answers again")
        for change in changes:
            fields = self._tables[change.table]
            if isinstance(change, Put):
                fields[change.field] = change.value
            else:
                fields.pop(change.field, None)

    async def _try(self, changes: Changes) -> None:
        try:
            await self._store.apply(changes)
        except StaleLeaderError as e:
            if not await asyncio.to_thread(self._acquire) or not self._log_is_ours():
                raise
            log.warning("%s; the lease and the log are ours: the store is rebuilt", e)
            await self._store.reset(self._tables)
            await self._store.apply(changes)

    def hold_lease(self, ended: threading.Event) -> None:
        """Keep the lease, in a thread of its own, until `ended`.

        Raises:
            StaleLeaderError: another coordinator holds it.
        """
        while not ended.wait(self._lease_s / 3):
            self.keep_lease()

    def keep_lease(self) -> None:
        """Prolong the lease, if the store answers.

        Raises:
            StaleLeaderError: another coordinator holds it.
        """
        try:
            held = self._renew() or self._acquire()
        except StorageError as e:
            log.debug("no lease: %s", e)  # `apply` says it aloud where it matters
            self._restart_server()
            return
        if not held:
            raise StaleLeaderError("the lease is lost: another coordinator leads")

    def _renew(self) -> bool:
        with self._one_thread:
            return self._store.lease.renew(self._lease_s)

    def _acquire(self) -> bool:
        with self._one_thread:
            return self._store.lease.acquire(self._lease_s)

    def _restart_server(self) -> None:
        with self._one_thread:
            self._revive()


@contextlib.asynccontextmanager
async def open_store(settings: CoordinatorSettings, run: str) -> AsyncIterator[OpenStore]:
    """Connect to the configured Redis, or to an embedded Valkey of our own, and take the lease."""
    with contextlib.ExitStack() as embedded:
        if settings.redis_url is None:
            valkey = await asyncio.to_thread(EmbeddedValkey, settings.data_dir / "valkey")
            embedded.callback(valkey.close)
            # Its folder is locked: whoever held this lease is dead, and need not be waited for.
            url, owner, revive = valkey.url, _EMBEDDED_OWNER, valkey.revive
        else:
            url, revive = settings.redis_url.get_secret_value(), _leave_alone
            owner = f"{socket.gethostname()}-{secrets.token_hex(8)}"
        store = await RedisStore.open(url, run, owner)
        try:
            await acquire_lease(store, settings.timings.leader_lease_s)
            try:
                yield OpenStore(store, revive)
            finally:
                with contextlib.suppress(StorageError):
                    store.lease.release()
        finally:
            await store.close()


def _leave_alone() -> None:
    """A server of somebody else's."""


async def acquire_lease(store: Store, ttl_s: float) -> None:
    """Wait for the lease: a standby coordinator waits here."""
    said = False
    while not await asyncio.to_thread(store.lease.acquire, ttl_s):
        if not said:
            log.info("another coordinator leads this run: waiting for its lease to end")
            said = True
        await asyncio.sleep(ttl_s / 10)
