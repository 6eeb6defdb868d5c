"""A worker's two connections with nothing to say, each behind a balancer that forgets idle ones."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any, Self

from commands.demo.layout import COORDINATOR
from common.canonical import MAX_DOCUMENT_BYTES
from protos.v1 import session_pb2
from services.disk.data_store import DataStore
from services.wire.bulk_link import BulkLink
from services.wire.channels import OPTIONS, Options, dial
from services.worker.link import Link, dialler
from tests.integration.conftest import LoneCoordinator
from tests.rig.links.idle_balancer import IdleBalancer

SILENT = {"heartbeat_s": 3600.0, "worker_lease_s": 36_000.0}
"""Timings of a coordinator that wants to hear nothing."""


class IdleSession:
    """An async context manager; made by `idle_session`.

    Args:
        name: the worker's.
        idle_s: without a byte, until a balancer forgets a connection.
        resets: what comes afterwards is answered with a reset.
        options: of how it dials.
    """

    def __init__(
        self,
        coordinator: LoneCoordinator,
        name: str,
        idle_s: float,
        *,
        resets: bool = False,
        options: Options = OPTIONS,
    ) -> None:
        light = coordinator.worker(name)
        self._genesis = light.genesis
        self._received: asyncio.Queue[Any] = asyncio.Queue()
        self.control = IdleBalancer(light.control, idle_s, resets=resets)
        self.bulk = IdleBalancer(light.bulk, idle_s, resets=resets)
        self._closing = Event()
        self._transfers = BulkLink(
            dial(self.bulk.address, light.credentials, options), self._closing
        )
        self._link = Link(
            self.control.address,
            dialler(self.control.address, lambda: light.credentials, options),
            join=light.join_message,
            heartbeat=session_pb2.Heartbeat,
            inbox=self._received.put_nowait,
        )
        self._stack = ExitStack()

    async def __aenter__(self) -> Self:
        self._stack.enter_context(self.control)
        self._stack.enter_context(self.bulk)
        self._running = asyncio.create_task(self._link.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.wait((self._running,))
        self._closing.set()
        self._transfers.close()
        self._stack.close()

    async def receive(self, kind: str) -> Any:
        """Return the next message of a kind; "" is the end of a stream."""
        while True:
            message = await self._received.get()
            if (message.WhichOneof("message") if message else "") == kind:
                return message

    async def speak(self) -> None:
        """Send a heartbeat, and wait for its answer."""
        self._link.send(session_pb2.ConnectRequest(heartbeat=session_pb2.Heartbeat()))
        await self.receive("pace")

    async def fetch(self, folder: Path) -> None:
        """Download the first version's document into an empty folder."""
        store = DataStore(folder)
        fetch, digest = self._transfers.fetch, self._genesis.version0
        await asyncio.to_thread(fetch, digest, "version", store, MAX_DOCUMENT_BYTES)


@contextlib.asynccontextmanager
async def open_session(
    coordinator: LoneCoordinator, name: str, idle_s: float, **how: Any
) -> AsyncIterator[IdleSession]:
    """Open both connections; nothing more is said on either."""
    async with IdleSession(coordinator, name, idle_s, **how) as session:
        await session.receive("welcome")
        await session.receive("pace")
        await session.fetch(coordinator.folder / f"first-{name}")
        yield session


def silent(coordinator: LoneCoordinator, **timings: float) -> LoneCoordinator:
    """Start a coordinator that wants no heartbeats."""
    coordinator.edit(COORDINATOR, timings={**SILENT, **timings})
    coordinator.start()
    return coordinator
