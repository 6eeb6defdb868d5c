"""A failover of Redis behind one address, and rights that come and go, while a coordinator leads.

All servers are real; a `Line` before them is the address that follows the primary.
"""

import asyncio
import time
from collections.abc import Callable

import pytest
from redis import Redis

from commands.demo.layout import COORDINATOR
from common.errors import StorageRefusedError
from services.coordinator.live.redis_store import RedisStore
from services.coordinator.live.resilient_store import wait_for_lease
from services.process.exit_status import Exit
from tests.integration.conftest import LoneCoordinator, Make, commit_round
from tests.rig.links.line import Line
from tests.rig.stores.leading_on_redis import RUN, TTL_S, head, kept, leading, user
from tests.rig.stores.redis_servers import address, follow, promote

PATIENT_S = 60.0


@pytest.mark.parametrize("stale_data", ["yes", "no"])
async def test_a_leader_follows_the_address_to_the_new_primary_while_the_old_one_stays_up(
    primary: Redis, replica: Redis, stale_data: str
) -> None:
    with Line(address(primary)) as line:
        async with leading(f"redis://{line.address}/0") as leader, asyncio.timeout(PATIENT_S):
            await leader.resilient.apply(head(b"1"))
            follow(replica, primary)
            promote(replica)
            line.target = address(replica)  # open connections stay with the old primary
            primary.config_set("replica-serve-stale-data", stale_data)
            if stale_data == "yes":
                follow(primary, replica)
            else:
                primary.replicaof("127.0.0.1", 1)
            leader.resilient.keep_lease()
            refused = leader.resilient.outage()
            leader.resilient.keep_lease()
            assert leader.resilient.outage() == ""
            await leader.resilient.apply(head(b"2"))
    assert ("READONLY" if stale_data == "yes" else "MASTERDOWN") in refused
    assert "an address that follows it" in refused
    assert "the lease cannot be prolonged" in refused
    assert len(leader.said) == 1
    assert kept(replica) == {b"head": b"2"}
    assert replica.get(f"crosscloud:{{{RUN}}}:leader") == b"mine"


async def test_an_address_that_moves_only_later_is_followed_then(
    primary: Redis, replica: Redis
) -> None:
    with Line(address(primary)) as line:
        async with leading(f"redis://{line.address}/0") as leader, asyncio.timeout(PATIENT_S):
            await leader.resilient.apply(head(b"1"))
            follow(replica, primary)
            promote(replica)
            follow(primary, replica)

            def moved() -> None:
                line.target = address(replica)

            leader.meanwhile = [lambda: None, lambda: None, moved]
            await leader.resilient.apply(head(b"2"))
            dialled = line.num_connections
            await leader.resilient.apply(head(b"3"))
    assert all("READONLY" in sentence for sentence in leader.said)
    assert len(leader.said) == 3
    assert line.num_connections == dialled  # one connection for as long as it serves
    assert kept(replica) == {b"head": b"3"}


async def test_rights_that_are_taken_away_and_given_back_are_noticed_without_a_restart(
    primary: Redis,
) -> None:
    url = user(primary, "mine", "~crosscloud:* +@all")
    async with leading(url) as leader, asyncio.timeout(PATIENT_S):
        user(primary, "mine", "~crosscloud:* +@all -hset")
        leader.meanwhile = [
            lambda: None,
            lambda: user(primary, "mine", "~other:* +@all"),
            lambda: primary.execute_command("ACL", "DELUSER", "mine"),
            lambda: user(primary, "mine", "~crosscloud:* +@all"),
        ]
        await leader.resilient.apply(head(b"1"))
    assert ["NOPERM" in s for s in leader.said] == [True, True, True, False]
    assert "give the user of redis_url" in leader.said[0]
    assert "correct the user or the password" in leader.said[3]
    assert kept(primary) == {b"head": b"1"}


async def test_a_standby_waits_out_a_failover_that_shows_it_a_replica(
    primary: Redis, replica: Redis
) -> None:
    with Line(address(primary)) as line:
        async with leading(f"redis://{line.address}/0") as leader, asyncio.timeout(PATIENT_S):
            standby = await RedisStore.open(f"redis://{line.address}/0", RUN, "standby")
            assert not standby.lease.acquire(TTL_S)
            await leader.resilient.apply(head(b"1"))
            follow(replica, primary)
            promote(replica)
            follow(primary, replica)
            replica.delete(f"crosscloud:{{{RUN}}}:leader")  # the leader is gone
            follow(primary, replica)
            with pytest.raises(StorageRefusedError, match="READONLY"):
                standby.lease.acquire(TTL_S)
            waiting = asyncio.create_task(wait_for_lease(standby, 1.0))
            line.target = address(replica)
            await waiting
            await standby.close()
    assert replica.get(f"crosscloud:{{{RUN}}}:leader") == b"standby"


def test_a_run_goes_on_when_the_address_moves_and_status_says_what_it_waited_for(
    primary: Redis, replica: Redis, make_coordinator: Make
) -> None:
    coordinator = make_coordinator(start=False)
    with Line(address(primary)) as line:
        coordinator.edit(COORDINATOR, redis_url=f"redis://{line.address}/0")
        coordinator.start()
        with coordinator.worker("aws") as aws:
            aws.join()
            digest = ""
            for version in range(5):
                if version == 3:
                    promote(replica)
                    follow(primary, replica)
                    until(lambda: "READONLY" in outage(coordinator))
                    line.target = address(replica)
                    until(lambda: outage(coordinator) == "")
                aws.offer(version=version, digest=digest, nonce=f"{version:032x}")
                digest = commit_round(aws).digest
        found = coordinator.status()
        assert found is not None
        assert found.version == 5
        coordinator.stop()
    log = coordinator.layout.log(COORDINATOR).read_text()
    assert "an address that follows it" in log
    assert coordinator.process is not None
    assert coordinator.process.exit_code == Exit.TOLD


def outage(coordinator: LoneCoordinator) -> str:
    found = coordinator.status()
    assert found is not None
    return found.outage


def until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENT_S
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
