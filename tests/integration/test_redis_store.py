from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from common.errors import ConfigError, StorageError, StorageFullError
from coordinator.ports import Put, Table
from services.coordinator.embedded_valkey import EmbeddedValkey
from services.coordinator.redis_store import RedisStore


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
