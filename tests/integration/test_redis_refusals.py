"""What a Redis server refuses at a start: it passes and is waited for, or it ends the start with 2.

All servers are real. `doctor` and the coordinator open the store in the same way.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from commands.demo.layout import COORDINATOR
from commands.doctor.main import examine
from common.errors import ConfigError, StorageError
from services.coordinator.live.embedded_valkey import server_program
from services.coordinator.live.redis_store import RedisStore
from services.coordinator.live.resilient_store import opened
from tests.integration.conftest import Make
from tests.rig.stores.leading_on_redis import RUN, TTL_S, head, kept, leading, user
from tests.rig.stores.redis_servers import ACCESS, USER, address, cluster, tcp_server

PATIENT_S = 60.0


Broken = Callable[[Redis], str]


def allowed(rules: str) -> Broken:
    """Return what makes a user that may do no more than this, and gives its URL."""
    return lambda server: user(server, "mine", rules)


NO_SCRIPTS = allowed("~crosscloud:* +@all -@scripting")
OTHER_KEYS = allowed("~training:* +@all")


def wrong_password(server: Redis) -> str:
    return user(server, "mine", "~crosscloud:* +@all").replace("secret", "other")


def no_password(server: Redis) -> str:
    server.config_set("requirepass", "secret")
    return f"redis://{address(server)}/0"


def no_such_database(server: Redis) -> str:
    return f"redis://{address(server)}/99"


def no_cluster(server: Redis) -> str:
    return f"redis+cluster://{address(server)}"


RULES = {
    "no scripts": NO_SCRIPTS,
    "no script load": allowed("~crosscloud:* +@all -script|load"),
    "other keys": OTHER_KEYS,
    "other run": allowed("~crosscloud:{other}:* +@all"),
    "read-only keys": allowed("%R~crosscloud:* +@all"),
    "no hashes": allowed("~crosscloud:* +@all -@hash"),
    "no expiry": allowed("~crosscloud:* +@all -persist"),
    "no info": allowed("~crosscloud:* +@all -info"),
}
REFUSED = {
    **{name: (broken, "NOPERM", "give the user") for name, broken in RULES.items()},
    "wrong password": (wrong_password, "WRONGPASS", "correct the user or the password"),
    "no password": (no_password, "NOAUTH", "lacks a password"),
    "no such database": (no_such_database, "DB index", "number of the database"),
    "no cluster": (no_cluster, "Cluster mode is not enabled", "write redis://"),
}


@pytest.mark.parametrize(("broken", "code", "fix"), REFUSED.values(), ids=REFUSED)
async def test_what_does_not_pass_ends_the_start_with_the_fix_and_leaves_nothing(
    primary: Redis, broken: Broken, code: str, fix: str
) -> None:
    url = broken(primary)
    with pytest.raises(ConfigError, match=fix) as caught:
        await opened(lambda: RedisStore.open(url, RUN, "mine"), 0.0)
    assert code in str(caught.value)
    assert "secret" not in str(caught.value)
    assert primary.keys("*") == []


@pytest.mark.parametrize("stale_data", ["yes", "no"])
async def test_a_start_on_a_replica_ends_with_the_fix(
    primary: Redis, replica: Redis, stale_data: str
) -> None:
    if stale_data == "no":
        replica.config_set("replica-serve-stale-data", "no")
        replica.replicaof("127.0.0.1", 1)
    with pytest.raises(ConfigError, match="redis_url has to lead to the primary"):
        await RedisStore.open(f"redis://{address(replica)}/0", RUN, "mine")


async def test_a_node_of_a_cluster_is_named_as_such(tmp_path: Path) -> None:
    with cluster(server_program(), tmp_path) as url:
        plain = url.replace("redis+cluster", "redis")
        said = []
        for i in range(20):  # a node of three holds every third run
            try:
                store = await RedisStore.open(plain, f"run-{i}", "mine")
            except ConfigError as e:
                said.append(str(e))
            else:
                await store.close()
    assert 0 < len(said) < 20
    assert all("MOVED" in s and "write redis+cluster://" in s for s in said)


async def test_the_user_of_the_runbook_is_enough(tmp_path: Path) -> None:
    with tcp_server(tmp_path / "acl", USER) as server:
        store = await RedisStore.open(f"redis://{ACCESS}@{address(server)}/0", RUN, "mine")
        assert store.lease.acquire(TTL_S)
        await store.close()
        assert server.keys("*") == [f"crosscloud:{{{RUN}}}:leader".encode()]


async def test_what_is_tried_at_a_start_touches_no_leader_and_leaves_nothing(
    primary: Redis,
) -> None:
    url = f"redis://{address(primary)}/0"
    async with leading(url) as leader:
        await leader.resilient.apply(head(b"1"))
        before = {key: primary.dump(key) for key in primary.keys("*")}
        for _ in range(3):
            store = await RedisStore.open(url, RUN, "doctor")
            await store.close()
        assert {key: primary.dump(key) for key in primary.keys("*")} == before


def full(server: Redis) -> tuple[str, str]:
    server.config_set("maxmemory", 1)
    return "maxmemory", "0"


def without_replicas(server: Redis) -> tuple[str, str]:
    server.config_set("min-replicas-to-write", 2)
    return "min-replicas-to-write", "0"


@pytest.mark.parametrize(("hindered", "code"), [(full, "OOM"), (without_replicas, "NOREPLICAS")])
async def test_what_passes_is_waited_for_at_start_and_while_leading(
    primary: Redis, caplog: pytest.LogCaptureFixture, hindered: Any, code: str
) -> None:
    url = f"redis://{address(primary)}/0"
    async with leading(url) as leader, asyncio.timeout(PATIENT_S):
        cure = hindered(primary)
        with pytest.raises(StorageError, match=code):
            await RedisStore.open(url, RUN, "other")
        num_tries = 0

        async def third_time() -> RedisStore:
            nonlocal num_tries
            num_tries += 1
            if num_tries == 3:
                primary.config_set(*cure)
            return await RedisStore.open(url, RUN, "other")

        with caplog.at_level("INFO"):
            await (await opened(third_time, 0.0)).close()
        assert (num_tries, caplog.text.count(f"cannot now: {code}")) == (3, 1)
        hindered(primary)
        leader.meanwhile = [lambda: None, lambda: primary.config_set(*cure)]
        await leader.resilient.apply(head(b"1"))
    assert [code in sentence for sentence in leader.said] == [True, True]
    assert kept(primary) == {b"head": b"1"}


@pytest.mark.parametrize("broken", [None, NO_SCRIPTS, OTHER_KEYS])
def test_doctor_and_the_coordinator_refuse_the_same_with_the_same_sentence(
    primary: Redis, replica: Redis, make_coordinator: Make, broken: Any
) -> None:
    url = broken(primary) if broken else f"redis://{address(replica)}/0"
    coordinator = make_coordinator(start=False)
    coordinator.edit(COORDINATOR, redis_url=url)
    (finding,) = (f for f in examine(coordinator.layout.config(COORDINATOR)) if f.check == "redis")
    assert not finding.ok
    coordinator.start(wait=False)
    assert coordinator.process is not None
    assert coordinator.process.wait(PATIENT_S)
    assert coordinator.process.exit_code == 2
    assert finding.sentence in coordinator.process.last_lines()
    assert "secret" not in coordinator.process.last_lines()


def test_doctor_tries_a_sound_server_beside_a_coordinator_that_leads(
    primary: Redis, make_coordinator: Make
) -> None:
    coordinator = make_coordinator(start=False)
    coordinator.edit(COORDINATOR, redis_url=f"redis://{address(primary)}/0")
    coordinator.start()
    (finding,) = (f for f in examine(coordinator.layout.config(COORDINATOR)) if f.check == "redis")
    assert finding.ok
    assert "gives and takes back a lease" in finding.sentence
    status = coordinator.status()
    assert status is not None
    assert status.outage == ""
