"""What `services/coordinator/live/store.py` promises, held against every store that there is."""

import asyncio
import contextlib
import copy
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from uuid import uuid4

import pytest

from common.errors import StaleLeaderError
from coordinator.ports import Delete, Put, Table
from coordinator.saved_round import OPEN, OUTCOME
from services.coordinator.live.embedded_valkey import EmbeddedValkey, server_program
from services.coordinator.live.redis_connection import connection as connected
from services.coordinator.live.redis_store import RedisStore
from services.coordinator.live.store import OUTCOME_TTL_S, Changes, Store, Tables
from simulator.memory_store import MemoryServer, MemoryStore
from tests.rig.programs import needed
from tests.rig.stores.redis_servers import cluster, redis_with_tls

TTL_S = 60.0
EMPTY = {table: dict[str, bytes]() for table in Table}


class MemoryBackend:
    """One run on a `MemoryServer`."""

    def __init__(self) -> None:
        self.server = MemoryServer()

    async def open(self, owner: str) -> Store:
        return MemoryStore(self.server, owner, time.monotonic)

    def rewind(self, op_seq: int, members: dict[str, bytes]) -> None:
        self.server.op_seq, self.server.last_changes = op_seq, None
        self.server.tables[Table.MEMBERS] = members

    def round_life_s(self) -> float:
        return self.server.round_until_s - time.monotonic()

    def lease_life_s(self) -> float:
        return self.server.leader_until_s - time.monotonic()


class ServerBackend:
    """One run on a real server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.run = f"run-{uuid4().hex}"

    async def open(self, owner: str) -> Store:
        return await RedisStore.open(self.url, self.run, owner)

    def rewind(self, op_seq: int, members: dict[str, bytes]) -> None:
        with connected(self.url, 10.0) as client:
            client.delete(f"crosscloud:{{{self.run}}}:members")
            client.hset(f"crosscloud:{{{self.run}}}:members", mapping=members)
            client.hset(f"crosscloud:{{{self.run}}}:op", mapping={"seq": op_seq, "digest": "lost"})

    def round_life_s(self) -> float:
        return self._life_s("round")

    def lease_life_s(self) -> float:
        return self._life_s("leader")

    def _life_s(self, key: str) -> float:
        with connected(self.url, 10.0) as client:
            milliseconds = client.pttl(f"crosscloud:{{{self.run}}}:{key}")
        return float("inf") if milliseconds < 0 else milliseconds / 1000


Backend = MemoryBackend | ServerBackend
Open = Callable[[str], Awaitable[Store]]


@pytest.fixture(scope="module")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server.url


@pytest.fixture(scope="module")
def valkey_cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cluster(server_program(), tmp_path_factory.mktemp("valkey-cluster")) as url:
        yield url


@pytest.fixture(scope="module")
def redis_tls_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_with_tls(tmp_path_factory.mktemp("redis-tls")) as url:
        yield url


@pytest.fixture(scope="module")
def redis_cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cluster(needed("redis-server"), tmp_path_factory.mktemp("redis-cluster")) as url:
        yield url


BY_REDIS = pytest.mark.program("redis-server")
SERVERS = [
    "valkey",
    "valkey_cluster",
    *(pytest.param(n, marks=BY_REDIS) for n in ("redis_tls", "redis_cluster")),
]


@pytest.fixture(params=["memory", *SERVERS])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "memory":
        return MemoryBackend()
    return ServerBackend(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def open_store(backend: Backend) -> AsyncIterator[Open]:
    async with contextlib.AsyncExitStack() as stack:

        async def open_(owner: str) -> Store:
            store = await backend.open(owner)
            stack.push_async_callback(store.close)
            return store

        yield open_


@pytest.fixture
async def leader(open_store: Open) -> Store:
    store = await open_store("leader")
    assert store.lease.acquire(TTL_S)
    return store


async def tables(store: Store) -> Tables:
    return (await store.load()).tables


async def test_a_new_run_is_empty(open_store: Open) -> None:
    store = await open_store("a")
    memory = await store.memory()
    assert memory.used_bytes >= 0 == memory.share
    state = await store.load()
    assert state.op_seq == 0
    assert state.tables == EMPTY


async def test_changes_are_made_in_order_and_counted(leader: Store) -> None:
    await leader.apply(
        (
            Put(Table.MEMBERS, "aws", b"old"),
            Put(Table.MEMBERS, "aws", b"\x00\xff new"),
            Put(Table.MEMBERS, "gcp", b""),
            Put(Table.OFFERS, "aws", b"offer"),
        )
    )
    await leader.apply((Delete(Table.OFFERS, "aws"), Delete(Table.OFFERS, "nobody")))
    await leader.apply(())

    state = await leader.load()
    assert state.op_seq == 3
    assert state.tables == EMPTY | {Table.MEMBERS: {"aws": b"\x00\xff new", "gcp": b""}}


async def test_a_field_may_have_any_name_and_many_fit_into_one_change(leader: Store) -> None:
    fields = {f"é {i}\n'\"": bytes([i % 256]) * i for i in range(3000)}
    await leader.apply(tuple(Put(Table.COUNTERS, k, v) for k, v in fields.items()))
    assert (await tables(leader))[Table.COUNTERS] == fields


async def test_only_the_holder_of_the_lease_may_write(leader: Store, open_store: Open) -> None:
    other = await open_store("other")
    assert not other.lease.acquire(TTL_S)
    for attempt in (other.apply((Put(Table.STATE, "head", b"x"),)), other.reset({})):
        with pytest.raises(StaleLeaderError, match=r"leader.*other"):
            await attempt
    state = await other.load()
    assert (state.op_seq, state.tables) == (0, EMPTY)


async def test_without_any_lease_nothing_is_written(leader: Store) -> None:
    leader.lease.release()
    with pytest.raises(StaleLeaderError, match="nobody"):
        await leader.apply((Put(Table.STATE, "head", b"x"),))
    assert await tables(leader) == EMPTY


async def test_a_leader_goes_on_once_it_holds_the_lease_again(leader: Store) -> None:
    leader.lease.release()
    assert not leader.lease.renew(TTL_S)
    assert leader.lease.acquire(TTL_S)
    assert leader.lease.acquire(TTL_S)
    assert leader.lease.renew(TTL_S)
    await leader.apply((Put(Table.STATE, "head", b"1"),))
    assert (await tables(leader))[Table.STATE] == {"head": b"1"}


async def test_a_lease_that_ran_out_can_be_taken(open_store: Open) -> None:
    old, new = await open_store("old"), await open_store("new")
    assert old.lease.acquire(TTL_S)
    await old.apply((Put(Table.STATE, "head", b"1"),))
    assert old.lease.acquire(0.05)
    async with asyncio.timeout(30):
        while not new.lease.acquire(TTL_S):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)

    assert not old.lease.renew(TTL_S)
    assert not old.lease.acquire(TTL_S)
    old.lease.release()
    assert new.lease.renew(TTL_S)
    with pytest.raises(StaleLeaderError):
        await old.apply((Put(Table.STATE, "head", b"2"),))
    assert (await tables(new))[Table.STATE] == {"head": b"1"}


async def test_renewing_prolongs_the_lease(leader: Store, backend: Backend) -> None:
    assert 0 < backend.lease_life_s() <= TTL_S
    assert leader.lease.renew(100 * TTL_S)
    assert TTL_S < backend.lease_life_s() <= 100 * TTL_S
    assert leader.lease.acquire(TTL_S)
    assert backend.lease_life_s() <= TTL_S


async def test_the_lease_works_in_a_thread_of_its_own(leader: Store) -> None:
    assert await asyncio.to_thread(leader.lease.renew, TTL_S)
    await asyncio.to_thread(leader.lease.release)
    assert not await asyncio.to_thread(leader.lease.renew, TTL_S)


async def test_a_change_on_an_older_state_is_refused(leader: Store, open_store: Open) -> None:
    same_name = await open_store("leader")
    await leader.apply((Put(Table.STATE, "head", b"1"),))
    with pytest.raises(StaleLeaderError, match=r"change 1, expected 0"):
        await same_name.apply((Put(Table.STATE, "head", b"2"),))

    assert (await same_name.load()).tables[Table.STATE] == {"head": b"1"}
    await same_name.apply((Put(Table.STATE, "head", b"2"),))
    assert (await tables(leader))[Table.STATE] == {"head": b"2"}


async def test_a_change_whose_answer_was_lost_may_be_repeated(
    leader: Store, open_store: Open
) -> None:
    changes: Changes = (Put(Table.OFFERS, "aws", b"1"), Delete(Table.OFFERS, "gcp"))
    before_the_loss = await open_store("leader")
    await leader.apply(changes)

    await before_the_loss.apply(changes)
    await before_the_loss.apply(changes)
    assert (await before_the_loss.load()).op_seq == 2


async def test_a_store_that_went_back_is_noticed_and_rebuilt(
    leader: Store, backend: Backend
) -> None:
    for i in range(5):
        await leader.apply((Put(Table.MEMBERS, "aws", b"%d" % i),))
    backend.rewind(2, {"aws": b"1", "gone": b""})

    with pytest.raises(StaleLeaderError, match=r"change 2, expected 5"):
        await leader.apply((Put(Table.MEMBERS, "aws", b"5"),))
    assert leader.lease.acquire(TTL_S)
    await leader.reset({Table.MEMBERS: {"aws": b"5"}, Table.STATE: {"head": b"7"}})

    state = await leader.load()
    assert state.op_seq == 6
    assert state.tables == EMPTY | {Table.MEMBERS: {"aws": b"5"}, Table.STATE: {"head": b"7"}}
    await leader.apply((Put(Table.MEMBERS, "aws", b"6"),))


async def test_reset_stands_above_a_store_that_is_ahead(leader: Store, backend: Backend) -> None:
    backend.rewind(40, {"aws": b""})
    await leader.reset({})
    state = await leader.load()
    assert (state.op_seq, state.tables) == (41, EMPTY)


async def test_a_round_with_an_outcome_expires_and_an_open_one_does_not(
    leader: Store, backend: Backend
) -> None:
    await leader.apply((Put(Table.ROUND, OPEN, b"1"), Put(Table.STATE, "head", b"1")))
    assert backend.round_life_s() == float("inf")
    await leader.apply((Put(Table.ROUND, OUTCOME, b"8"),))
    assert 0 < backend.round_life_s() <= OUTCOME_TTL_S
    await leader.apply((Put(Table.STATE, "head", b"2"), Delete(Table.ROUND, "nothing")))
    assert backend.round_life_s() <= OUTCOME_TTL_S
    await leader.apply((Put(Table.ROUND, OPEN, b"2"), Delete(Table.ROUND, OUTCOME)))
    assert backend.round_life_s() == float("inf")
    assert (await tables(leader))[Table.ROUND] == {OPEN: b"2"}


async def test_a_reset_forgets_that_a_round_was_to_expire(leader: Store, backend: Backend) -> None:
    await leader.apply((Put(Table.ROUND, OUTCOME, b"8"),))
    await leader.reset({Table.ROUND: {OPEN: b"2"}})
    assert backend.round_life_s() == float("inf")


async def test_what_was_loaded_does_not_change_afterwards(leader: Store) -> None:
    await leader.apply((Put(Table.STATE, "head", b"1"),))
    state = await leader.load()
    before = copy.deepcopy(state)
    await leader.apply((Put(Table.STATE, "head", b"2"),))
    assert state == before


async def test_runs_on_one_server_do_not_meet(valkey_url: str) -> None:
    one, two = ServerBackend(valkey_url), ServerBackend(valkey_url)
    a, b = await one.open("x"), await two.open("x")
    try:
        assert a.lease.acquire(TTL_S)
        await a.apply((Put(Table.STATE, "head", b"1"),))
        assert await tables(b) == EMPTY
        with pytest.raises(StaleLeaderError):
            await b.reset({})
    finally:
        await a.close()
        await b.close()


def test_an_expired_round_is_gone_from_memory() -> None:
    now_s = 0.0
    store = MemoryStore(MemoryServer(), "a", lambda: now_s)
    assert store.lease.acquire(10 * OUTCOME_TTL_S)
    asyncio.run(store.apply((Put(Table.ROUND, OUTCOME, b"8"),)))
    now_s = OUTCOME_TTL_S - 1
    assert asyncio.run(tables(store))[Table.ROUND] == {OUTCOME: b"8"}
    now_s = OUTCOME_TTL_S
    assert asyncio.run(tables(store)) == EMPTY
