"""Leads through an outage of the store: nothing is decided or sent until it answers again.

A store that does not answer is asked again, ever more slowly, for as long as it takes; whoever
waits for a turn of the driver waits with it, so nothing grows. A store that was emptied or went
back in time is rebuilt from a copy of what it answered for, if the lease can be had again and the
log has no record of another leader. Otherwise somebody else leads, and this process ends.
`outage` says what fails, since when and what it holds up: status shows it. A store that refuses,
say because it is a replica by now, is asked again as well, on a new connection
(`redis_refusals.py`).
"""

import asyncio
import contextlib
import logging
import secrets
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from common.errors import StaleLeaderError, StorageError, StorageRefusedError
from coordinator.ports import Put, Table
from services.config.settings import CoordinatorSettings
from services.coordinator.kept.files import CoordinatorFiles
from services.coordinator.live.embedded_valkey import EmbeddedValkey
from services.coordinator.live.redis_store import RedisStore
from services.coordinator.live.store import Changes, Store, StoreMemory, Tables
from services.process.told import to_its_end
from services.wire.backoff import RetryBackoff

log = logging.getLogger(__name__)

S = TypeVar("S")
T = TypeVar("T")

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 4 / 3  # on average: none is longer than two seconds
_EMBEDDED_OWNER: Final = "embedded"


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store, and how to start its server again if that is ours to do."""

    store: Store
    revive: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Trouble:
    """What failed last, and since when."""

    sentence: str
    since_s: float

    @classmethod
    def after(cls, former: "_Trouble | None", e: StorageError, now_s: float) -> "_Trouble":
        return cls(str(e), now_s if former is None else former.since_s)


class ResilientStore:
    """See the module docstring. It leads: the lease is held when this is made.

    Args:
        opened: the store.
        lease_s: until another coordinator may take over.
        log_is_ours: returns whether the log ends with our own record.
        sleep: waits so many seconds.
        now_s: monotonic clock.
    """

    def __init__(
        self,
        opened: OpenStore,
        lease_s: float,
        log_is_ours: Callable[[], bool],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = opened.store
        self._revive = opened.revive
        self._lease_s = lease_s
        self._log_is_ours = log_is_ours
        self._sleep = sleep
        self._now_s = now_s
        self._held_up: _Trouble | None = None  # a change of the state
        self._no_lease: _Trouble | None = None
        self._tables: dict[Table, dict[str, bytes]] = {}
        self._one_thread = threading.Lock()  # of the lease and of `revive`

    def outage(self) -> str:
        """Return what the store does not do, since when, and what that holds up; "" = nothing."""
        held_up, no_lease = self._held_up, self._no_lease
        if (trouble := held_up or no_lease) is None:
            return ""
        what = (
            "nothing is decided or sent until it has saved what was decided last"
            if held_up
            else "the lease cannot be prolonged"
        )
        return f"{trouble.sentence}, for {self._now_s() - trouble.since_s:.1f} s; {what}"

    async def memory(self) -> StoreMemory | None:
        """Return how full the store is; None where it does not answer."""
        try:
            return await self._store.memory()
        except StorageError as e:
            log.debug("no word on memory: %s", e)
            return None

    async def load(self) -> Tables:
        """Return what a former leader left; what cannot be read counts as lost, and is deleted."""
        state = await self._until_done(self._store.load)
        for sentence in state.lost:
            log.warning("the store: %s", sentence)
        if state.lost:
            await self._until_done(lambda: self._store.reset(state.tables))
        self._tables = {table: dict(fields) for table, fields in state.tables.items()}
        return state.tables

    async def apply(self, changes: Changes) -> None:
        """Return once the changes are in the store, however long that takes.

        Raises:
            StaleLeaderError: another coordinator leads.
        """
        await self._until_done(lambda: self._try(changes))
        for change in changes:
            fields = self._tables[change.table]
            if isinstance(change, Put):
                fields[change.field] = change.value
            else:
                fields.pop(change.field, None)

    async def _until_done(self, call: Callable[[], Awaitable[T]]) -> T:
        """Return what `call` returns, once the store lets it."""
        backoff, said = RetryBackoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S), set[str]()
        while True:
            try:
                done = await call()
            except StaleLeaderError:
                raise
            except StorageError as e:
                if str(e) not in said:
                    log.warning("%s; nothing is decided until the store does it", e)
                    said.add(str(e))
                self._held_up = _Trouble.after(self._held_up, e, self._now_s())
                await self._sleep(backoff.wait_s(None))
                await asyncio.to_thread(self._restart_server)
            else:
                break
        if self._held_up is not None:
            self._held_up = None
            log.info("the store answers again")
        return done

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
            if isinstance(e, StorageRefusedError) and self._no_lease is None:
                log.warning("%s; the lease cannot be prolonged", e)
            log.debug("no lease: %s", e)  # `apply` says it aloud where it matters
            self._no_lease = _Trouble.after(self._no_lease, e, self._now_s())
            self._restart_server()
            return
        self._no_lease = None
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
    lease_s = settings.timings.leader_lease_s
    with contextlib.ExitStack() as embedded:
        if settings.redis_url is None:
            valkey = await _started(CoordinatorFiles(settings.data_dir).valkey)
            embedded.callback(valkey.close)
            # Its folder is locked: whoever held this lease is dead, and need not be waited for.
            url, owner, revive = valkey.url, _EMBEDDED_OWNER, valkey.revive
        else:
            url, revive = settings.redis_url.get_secret_value(), _leave_alone
            owner = f"{socket.gethostname()}-{secrets.token_hex(8)}"
        store = await opened(lambda: RedisStore.open(url, run, owner), lease_s / 10)
        try:
            try:
                await wait_for_lease(store, lease_s)
                yield OpenStore(store, revive)
            finally:
                with contextlib.suppress(StorageError):
                    store.lease.release()
        finally:
            await store.close()


async def _started(folder: Path) -> EmbeddedValkey:
    """Return a running server; who is cancelled here leaves none."""
    given_up = threading.Event()
    return await to_its_end(
        EmbeddedValkey, folder, given_up, give_up=given_up.set, undo=EmbeddedValkey.close
    )


def _leave_alone() -> None:
    """A server of somebody else's."""


async def opened(open_: Callable[[], Awaitable[S]], pause_s: float) -> S:
    """Open the store as soon as what passes has passed: it reads its files, its memory is full.

    Raises:
        ConfigError: it cannot be used; that does not pass.
    """
    said = ""
    while True:
        try:
            return await open_()
        except StorageError as e:
            said = _said_once(f"{e}; waiting until it does it", said)
        await asyncio.sleep(pause_s)


async def wait_for_lease(store: Store, ttl_s: float) -> None:
    """Wait for the lease: a standby coordinator waits here, also while the store is away."""
    said = ""
    while True:
        try:
            if await asyncio.to_thread(store.lease.acquire, ttl_s):
                return
            why = "another coordinator leads this run: waiting for its lease to end"
        except StorageError as e:
            why = f"{e}; waiting until it gives the lease"
        said = _said_once(why, said)
        await asyncio.sleep(ttl_s / 10)


def _said_once(sentence: str, before: str) -> str:
    """Log a sentence unless it is the one before; return it."""
    if sentence != before:
        log.info("%s", sentence)
    return sentence
