"""A leader's store on a real server: what it says while it waits, and what the server keeps."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from redis import Redis

from coordinator.ports import Put, Table
from services.coordinator.live.redis_store import RedisStore
from services.coordinator.live.resilient_store import OpenStore, ResilientStore, wait_for_lease
from tests.rig.stores.redis_servers import address

RUN: Final = "wiki-1"
TTL_S: Final = 60.0


def user(server: Redis, name: str, rights: str) -> str:
    """Make a user; return the URL."""
    server.execute_command("ACL", "SETUSER", name, "reset", "on", ">secret", *rights.split())
    return f"redis://{name}:secret@{address(server)}/0"


def kept(server: Redis) -> Mapping[bytes | str, bytes | str]:
    return server.hgetall(f"crosscloud:{{{RUN}}}:state")


def head(value: bytes) -> tuple[Put, ...]:
    return (Put(Table.STATE, "head", value),)


class Leader:
    """A resilient store over a real one; what it says while it waits is in `said`."""

    def __init__(self, store: RedisStore) -> None:
        self.said: list[str] = []
        self.meanwhile: list[Callable[[], Any]] = []
        """Done one each, before the store is asked again."""
        self.resilient = ResilientStore(
            OpenStore(store, lambda: None), TTL_S, lambda: True, sleep=self._sleep
        )

    async def _sleep(self, seconds: float) -> None:
        self.said.append(self.resilient.outage())
        if self.meanwhile:
            self.meanwhile.pop(0)()


@contextlib.asynccontextmanager
async def leading(url: str) -> AsyncIterator[Leader]:
    store = await RedisStore.open(url, RUN, "mine")
    try:
        await wait_for_lease(store, TTL_S)
        leader = Leader(store)
        await leader.resilient.load()
        yield leader
    finally:
        await store.close()
