"""The live state in Redis, Valkey or any server that speaks their protocol; see `store.py`.

Keys are `crosscloud:{run}:...`: several runs share a server, and in a cluster one run's keys share
a slot, so that one script may change them all. Every call is one script. The client never retries
by itself: whether a lost answer may be asked for again is decided by the scripts. A connection on
which the server refuses for good (`redis_refusals.py`) is closed; the next call dials anew.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from math import inf
from pathlib import Path
from typing import Any, Final, Self

from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster

from common.errors import (
    ConfigError,
    StaleLeaderError,
    StorageError,
    StorageFullError,
    StorageRefusedError,
)
from common.text import printable
from coordinator.ports import Delete, Put, Table
from services.config.secret_urls import problem_of, shown
from services.coordinator.live.redis_connection import (
    FAILURES,
    AsyncConnection,
    Connection,
    async_connection,
    connection,
    is_cluster,
)
from services.coordinator.live.redis_refusals import Kind, Refusal, refusal_of
from services.coordinator.live.store import Changes, StoredState, StoreMemory, Tables, round_ttl_s

_TIMEOUT_S: Final = 10.0  # a busy disk may delay the server's fsync for seconds
_LEASE_TIMEOUT_S: Final = 5.0
_TABLES: Final = tuple(Table)
_NAMES: Final = ("leader", "op", *(t.value for t in _TABLES))
_SCRIPTS: Final = ("acquire", "renew", "release", "load", "apply", "reset")
_INDEX: Final = {table: str(i) for i, table in enumerate(_TABLES, start=1)}  # as Lua counts

MAX_FIELDS: Final = 20_000
MAX_TABLE_BYTES: Final = 64 * 2**20
"""Of one table, as it is loaded: what is larger is none of ours."""

_ODD: Final = "surrogateescape"

Words = list[str | bytes]


class RedisLease:
    """The lease on a connection of its own; for one thread."""

    def __init__(self, url: str, run: str, owner: str) -> None:
        self._url = url
        self._name = shown(url)
        self._owner = owner
        self._keys = [_key(run, "leader")]
        self._trial = _trial_keys(run)
        self._connection: Connection | None = None
        self._scripts: dict[str, Any] = {}

    def acquire(self, ttl_s: float) -> bool:
        """Take the lease, or prolong it where it is held; False while another holds it."""
        return bool(self._run("acquire", self._keys, [self._owner, _milliseconds(ttl_s)]))

    def renew(self, ttl_s: float) -> bool:
        """Prolong the lease; False where it ran out, even if nobody took it."""
        return bool(self._run("renew", self._keys, [self._owner, _milliseconds(ttl_s)]))

    def release(self) -> None:
        """Give the lease up; where another holds it nothing happens."""
        self._run("release", self._keys, [self._owner])

    def attempt(self) -> None:
        """Do under other names what leading does, and leave nothing; see `RedisStore.open`."""
        self._run("trial", self._trial, _trial_words(self._owner))

    def close(self) -> None:
        """Close the connection; the lease stays until it runs out."""
        dialled, self._connection = self._connection, None
        if dialled is not None:
            dialled.close()

    def _run(self, script: str, keys: list[str], words: Words) -> Any:
        try:
            if self._connection is None:
                self._connection = connection(self._url, _LEASE_TIMEOUT_S)
                self._scripts = _registered(self._connection)
            return self._scripts[script](keys, words)
        except FAILURES as e:
            if _is_for_good(e):
                self.close()
            raise _failure(self._name, e) from e


class RedisStore:
    """The tables of one run; see the module docstring. Made by `open`."""

    def __init__(self, url: str, run: str, owner: str) -> None:
        self._url = url
        self._name = shown(url)
        self._owner = owner
        self._op_seq = 0
        self._keys = [_key(run, name) for name in _NAMES]
        self._trial = _trial_keys(run)
        self._connection: AsyncConnection | None = None
        self._scripts: dict[str, Any] = {}
        if problem := problem_of(url):
            raise ConfigError(f"redis_url: {self._name} {problem}")
        try:
            self._lease = RedisLease(url, run, owner)
            self._dialled()
        except (ValueError, TypeError):  # what it says may hold the password
            raise ConfigError(
                f"redis_url: {self._name}: an option after the ? is unknown or has a wrong value:"
                " correct it, or leave it out"
            ) from None

    @classmethod
    async def open(cls, url: str, run: str, owner: str) -> Self:
        """Connect, and refuse a server on which no run could be led.

        What leading asks of it is tried in one script, under names that no leader uses, so that a
        replica, a user with too few rights and the like show here; nothing of it is left.

        Args:
            url: as in `redis_connection.py`.
            run: name of the run.
            owner: name of this coordinator's process, new at every start.

        Raises:
            ConfigError: no such server, or it refuses for good, or it evicts keys when memory is
                short.
            StorageError: it refuses what it will do later; see `redis_refusals.py`.
        """
        store = cls(url, run, owner)
        try:
            await store._check_server()
        except BaseException:
            await store.close()
            raise
        return store

    @property
    def lease(self) -> RedisLease:
        """This coordinator's lease."""
        return self._lease

    async def load(self) -> StoredState:
        """Return everything; see `Store.load`."""
        most: Words = [str(MAX_FIELDS), str(MAX_TABLE_BYTES)]
        keys = self._keys[1:]
        said = await self._run("load", keys, most)
        read = [words if isinstance(words, list) else [] for words in said]
        seq, *tables = read
        self._op_seq = int(seq[0]) if seq else 0
        return StoredState(
            self._op_seq,
            {table: _fields(flat) for table, flat in zip(_TABLES, tables, strict=True)},
            tuple(
                f"{key} counts as lost: {why.decode()}"
                for key, why in zip(keys, said, strict=True)
                if not isinstance(why, list)
            ),
        )

    async def apply(self, changes: Changes) -> None:
        """Make all changes or none. See `Store.apply`."""
        words = _change_words(changes)
        arguments: Words = [
            self._owner,
            str(self._op_seq),
            _digest(words),
            _INDEX[Table.ROUND],
            _round_life(changes),
            *words,
        ]
        done, *rest = await self._run("apply", self._keys, arguments)
        if not done:
            raise self._stale(*rest)
        self._op_seq = int(rest[0])

    async def reset(self, tables: Tables) -> None:
        """Replace everything by `tables`, at an op_seq above all that were seen before."""
        words: Words = [
            word
            for table, fields in tables.items()
            for field, value in fields.items()
            for word in (_INDEX[table], _raw(field), value)
        ]
        words = [self._owner, str(self._op_seq), *words]
        done, *rest = await self._run("reset", self._keys, words)
        if not done:
            raise self._stale(rest[0], self._op_seq)
        self._op_seq = int(rest[0])

    async def ping(self) -> None:
        """Return if the server answers."""
        await self._ask(lambda dialled: dialled.ping())

    async def memory(self) -> StoreMemory:
        """Return how full the server is."""
        said = await self._memory()
        found = (StoreMemory(int(m["used_memory"]), int(m.get("maxmemory", 0))) for m in said)
        return max(found, key=lambda m: (m.share, m.used_bytes))

    async def close(self) -> None:
        """Close the connections."""
        self._lease.close()
        await self._hang_up()

    async def _check_server(self) -> None:
        try:
            memory = await self._memory()
            await self._run("trial", self._trial, _trial_words(self._owner))
            await asyncio.to_thread(self._lease.attempt)
        except StorageRefusedError as e:
            raise ConfigError(str(e)) from e
        except StorageError as e:
            if refusal_of(e.__cause__ or e) is not None:
                raise
            raise ConfigError(
                f"Redis at {self._name} cannot be used: {e.__cause__}; start it, correct the URL or"
                " its password, or leave the URL out to use the embedded server"
            ) from e
        for policy in (m.get("maxmemory_policy", "unknown") for m in memory):
            if policy == "noeviction":
                continue
            raise ConfigError(
                f"Redis at {self._name} has maxmemory-policy {policy}: it would forget open rounds"
                " when memory is short; set it to noeviction"
            )

    async def _memory(self) -> list[dict[str, Any]]:
        """Return what each server that holds keys says of its memory."""
        if not is_cluster(self._url):
            return [await self._ask(lambda dialled: dialled.info("memory"))]
        primaries = AsyncRedisCluster.PRIMARIES
        said = await self._ask(lambda dialled: dialled.info("memory", target_nodes=primaries))
        return list(said.values())

    async def _run(self, script: str, keys: list[str], words: Words) -> Any:
        return await self._ask(lambda _: self._scripts[script](keys, words))

    async def _ask(self, call: Callable[[Any], Awaitable[Any]]) -> Any:
        """Make one call; a connection on which it can never succeed is closed."""
        try:
            return await call(self._dialled())
        except FAILURES as e:
            if _is_for_good(e):
                await self._hang_up()
            raise _failure(self._name, e) from e

    def _dialled(self) -> AsyncConnection:
        if self._connection is None:
            self._connection = async_connection(self._url, _TIMEOUT_S)
            self._scripts = _registered(self._connection)
        return self._connection

    async def _hang_up(self) -> None:
        dialled, self._connection = self._connection, None
        if dialled is not None:
            await dialled.aclose()

    def _stale(self, holder: bytes, op_seq: int) -> StaleLeaderError:
        leader = printable(holder[:200].decode(errors="replace"))
        if leader != self._owner:
            who = f"led by {leader}" if leader else "led by nobody"
            return StaleLeaderError(f"the run is {who}: {self._owner} does not hold the lease")
        return StaleLeaderError(
            f"Redis at {self._name} stands at change {op_seq}, expected {self._op_seq}:"
            " it lost changes, or somebody else made some"
        )


def _key(run: str, name: str) -> str:
    if "}" in run:
        raise ConfigError(f"the run's name {run!r} holds a brace, which Redis keys cannot")
    return f"crosscloud:{{{run}}}:{name}"


def _trial_keys(run: str) -> list[str]:
    return [_key(run, f"trial:{name}") for name in _NAMES]


def _trial_words(owner: str) -> Words:
    """Return the arguments of the trial; see `lua/trial.lua`."""
    return [owner, _digest(()), _INDEX[Table.ROUND]]


def _lua(name: str) -> str:
    return (Path(__file__).parent / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def _registered(dialled: Any) -> dict[str, Any]:
    """Return the scripts as `dialled` calls them, by name."""
    texts = {name: _lua(name) for name in _SCRIPTS}
    functions = (f"local function {n}(KEYS, ARGV)\n{text}\nend\n" for n, text in texts.items())
    texts["trial"] = "".join(functions) + _lua("trial")
    return {name: dialled.register_script(text) for name, text in texts.items()}


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))


def _round_life(changes: Changes) -> str:
    match round_ttl_s(changes):
        case None:
            return "-1"
        case ttl_s:
            return "0" if ttl_s == inf else _milliseconds(ttl_s)


def _change_words(changes: Changes) -> Words:
    words: Words = []
    for change in changes:
        match change:
            case Put(table, field, value):
                words += ["put", _INDEX[table], _raw(field), value]
            case Delete(table, field):
                words += ["delete", _INDEX[table], _raw(field)]
    return words


def _digest(words: Iterable[str | bytes]) -> str:
    found = hashlib.sha256()
    for word in words:
        content = word.encode() if isinstance(word, str) else word
        found.update(len(content).to_bytes(8, "little") + content)
    return found.hexdigest()


def _fields(flat: list[bytes]) -> dict[str, bytes]:
    """Return a table; a name that is no UTF-8 is one all the same, or nobody could delete it."""
    return {k.decode(errors=_ODD): v for k, v in zip(flat[::2], flat[1::2], strict=True)}


def _raw(field: str) -> bytes:
    return field.encode(errors=_ODD)


def _is_for_good(e: Exception) -> bool:
    """Return whether the same connection will go on refusing."""
    refusal = refusal_of(e)
    return refusal is not None and refusal.kind is not Kind.PASSES


def _failure(name: str, e: Exception) -> StorageError:
    match refusal_of(e):
        case None:
            return StorageError(f"Redis at {name} failed: {e}")
        case Refusal(code="OOM") as refusal:
            return StorageFullError(f"Redis at {name} cannot now: {refusal}")
        case Refusal(kind=Kind.PASSES) as refusal:
            return StorageError(f"Redis at {name} cannot now: {refusal}")
        case refusal:
            return StorageRefusedError(f"Redis at {name} refuses: {refusal}")
