from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from common.errors import ConfigError, StaleLeaderError, StorageError, StorageFullError
from coordinator.ports import Delete, Put, Table
from services.coordinator.live.embedded_valkey import EmbeddedValkey
from services.coordinator.live.redis_store import MAX_FIELDS, MAX_TABLE_BYTES, RedisStore
from services.coordinator.live.resilient_store import OpenStore, ResilientStore


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(tmp_path / "valkey") as server:
        yield server


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster"])
async def test_a_server_that_is_not_there_is_named_without_its_password(scheme: str) -> None:
    url = f"{scheme}://someone:top-secret@127.0.0.1:1/0?password=other-secret"
    with pytest.raises(ConfigError) as caught:
        await RedisStore.open(url, "run", "a")
    message = str(caught.value)
    assert f"{scheme}://someone:***@127.0.0.1:1/0" in message
    assert "embedded server" in message
    assert "secret" not in message


@pytest.mark.parametrize("url", ["", "host:6379", "http://host"])
async def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="rediss://"):
        await RedisStore.open(url, "run", "a")


async def test_a_wrong_password_is_the_operators_fault(server: EmbeddedValkey) -> None:
    with Redis.from_url(server.url) as client:
        client.config_set("requirepass", "right")
        try:
            with pytest.raises(ConfigError, match="password"):
                await RedisStore.open(server.url, "run", "a")
            store = await RedisStore.open(f"{server.url}?password=right", "run", "a")
            await store.ping()
            assert store.lease.acquire(10)
            await store.close()
        finally:
            client.config_set("requirepass", "")


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_evicts_keys_is_refused(server: EmbeddedValkey, policy: str) -> None:
    with Redis.from_url(server.url) as client:
        client.config_set("maxmemory-policy", policy)
    with pytest.raises(ConfigError, match=f"maxmemory-policy {policy}.*noeviction"):
        await RedisStore.open(server.url, "run", "a")


async def test_a_server_with_a_limit_says_how_full_it_is(server: EmbeddedValkey) -> None:
    store = await RedisStore.open(server.url, "run", "a")
    with Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 64 * 2**20)
    try:
        memory = await store.memory()
    finally:
        with Redis.from_url(server.url) as client:
            client.config_set("maxmemory", 0)
        await store.close()
    assert memory.max_bytes == 64 * 2**20
    assert 0 < memory.used_bytes < memory.max_bytes
    assert 0 < memory.share < 1


async def test_a_server_without_memory_is_named_and_nothing_changes(
    server: EmbeddedValkey,
) -> None:
    store = await RedisStore.open(server.url, "run", "a")
    assert store.lease.acquire(60)
    await store.apply((Put(Table.STATE, "head", b"1"),))
    with Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(StorageFullError, match="maxmemory"):
            await store.apply((Put(Table.STATE, "head", b"2"),))
        client.config_set("maxmemory", 0)
    assert (await store.load()).tables[Table.STATE] == {"head": b"1"}
    await store.close()


async def test_a_server_that_goes_away_is_a_storage_error_and_its_return_is_enough(
    tmp_path: Path,
) -> None:
    changes = (Put(Table.STATE, "head", b"1"),)
    with EmbeddedValkey(tmp_path / "valkey") as first:
        store = await RedisStore.open(first.url, "run", "a")
        assert store.lease.acquire(3600)
    for call in (store.ping, store.load, lambda: store.apply(changes), lambda: store.reset({})):
        with pytest.raises(StorageError, match=r"Redis at unix://"):
            await call()
    with pytest.raises(StorageError):
        store.lease.renew(3600)

    with EmbeddedValkey(tmp_path / "valkey"):
        assert store.lease.renew(3600)
        await store.apply(changes)
        assert (await store.load()).tables[Table.STATE] == {"head": b"1"}
        await store.close()


async def test_a_run_name_that_would_break_the_keys_is_refused() -> None:
    with pytest.raises(ConfigError, match="brace"):
        await RedisStore.open("redis://127.0.0.1:1", "a}b", "a")


@pytest.fixture
def client(server: EmbeddedValkey) -> Iterator[Redis]:
    with Redis.from_url(server.url) as client:
        yield client


async def led(server: EmbeddedValkey) -> RedisStore:
    store = await RedisStore.open(server.url, "run", "a")
    assert store.lease.acquire(10)
    return store


NOT_OURS: dict[str, Callable[[Redis], object]] = {
    "round": lambda c: c.set("crosscloud:{run}:round", "x"),
    "members": lambda c: c.lpush("crosscloud:{run}:members", "x"),
    "op": lambda c: c.set("crosscloud:{run}:op", "x"),
    "op: seq": lambda c: c.hset("crosscloud:{run}:op", "seq", "nan"),
    "op: seq, negative": lambda c: c.hset("crosscloud:{run}:op", "seq", "-5"),
    "op: seq, absurd": lambda c: c.hset("crosscloud:{run}:op", "seq", "9" * 5000),
    "offers": lambda c: c.hset(
        "crosscloud:{run}:offers", mapping={str(i): "x" for i in range(MAX_FIELDS + 1)}
    ),
    "counters": lambda c: c.hset("crosscloud:{run}:counters", "x", bytes(MAX_TABLE_BYTES)),
}


@pytest.mark.parametrize("key", NOT_OURS)
async def test_a_key_that_is_not_of_our_making_counts_as_lost_and_the_rest_is_led_on(
    server: EmbeddedValkey, client: Redis, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    redis = await led(server)
    await redis.apply((Put(Table.STATE, "version", b"7"),))
    client.delete(f"crosscloud:{{run}}:{key.partition(':')[0]}")
    NOT_OURS[key](client)
    store = ResilientStore(OpenStore(redis, lambda: None), 10.0, lambda: True)
    found = await store.load()
    assert found == {t: {"version": b"7"} if t is Table.STATE else {} for t in Table}
    (warning,) = caplog.messages
    assert f"crosscloud:{{run}}:{key.partition(':')[0]} counts as lost: " in warning
    await store.apply(changes := tuple(Put(table, "field", b"value") for table in Table))
    again = await redis.load()
    assert not again.lost
    assert all(again.tables[c.table][c.field] == c.value for c in changes)
    await redis.close()


async def test_a_field_whose_name_is_no_text_is_found_kept_and_deleted(
    server: EmbeddedValkey, client: Redis
) -> None:
    store, key = await led(server), "crosscloud:{run}:members"
    client.hset(key, b"\xff\x00\n", b"x")
    tables = (await store.load()).tables
    await store.reset(tables)
    assert client.hgetall(key) == {b"\xff\x00\n": b"x"}
    (name,) = tables[Table.MEMBERS]
    await store.apply((Delete(Table.MEMBERS, name),))
    assert not client.exists(key)
    await store.close()


@pytest.mark.parametrize("seq", ["nan", "x", "-1", "1e400"])
async def test_an_op_seq_that_becomes_nonsense_is_a_store_that_lost_changes(
    server: EmbeddedValkey, client: Redis, seq: str
) -> None:
    store = await led(server)
    await store.load()
    client.hset("crosscloud:{run}:op", "seq", seq)
    with pytest.raises(StaleLeaderError, match="it lost changes, or somebody else made some"):
        await store.apply((Put(Table.STATE, "version", b"1"),))
    await store.reset({Table.STATE: {"version": b"0"}})
    await store.apply((Put(Table.STATE, "version", b"1"),))
    assert (await store.load()).tables[Table.STATE] == {"version": b"1"}
    await store.close()
