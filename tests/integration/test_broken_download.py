"""Downloads whose other end falls silent: a lost path, a process that stops or is killed."""

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
from typing_extensions import override

from common.ids import Digest
from services.disk.data_store import DataStore, Writer
from services.disk.files import Bytes, Draft
from services.wire.bulk_link import BulkLink
from services.wire.channels import channel_options, dial
from tests.integration.conftest import LoneCoordinator, lay_out
from tests.rig.chaos.processes import pid_of
from tests.rig.links.line import Line

PATIENCE_S = 100.0
PING_S = 1.0
FILE_BYTES = 64 * 2**20  # more than is on its way at once


class HalfWay(DataStore):
    """Calls `fault` when a quarter of a file has come."""

    def __init__(self, root: Path, fault: Callable[[], None]) -> None:
        super().__init__(root)
        self._fault = fault

    @override
    def writer(self) -> Writer:
        fault = self._fault

        class FaultyWriter(Writer):
            struck = False

            @override
            def append(self, content: Bytes) -> None:
                super().append(content)
                if self.length > FILE_BYTES / 4 and not self.struck:
                    self.struck = True
                    fault()

        return FaultyWriter(self, Draft(self.root, "writer"))


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneCoordinator]:
    made = lay_out(tmp_path_factory.mktemp("download") / "run")
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def digest(coordinator: LoneCoordinator) -> Digest:
    data = coordinator.layout.coordinator.data
    return DataStore(data).write(secrets.token_bytes(FILE_BYTES))


class Download:
    """Fetches a file over a line; every wait in it is limited by its pings."""

    def __init__(
        self,
        coordinator: LoneCoordinator,
        digest: Digest,
        folder: Path,
        fault: Callable[[Line], None],
    ) -> None:
        self._coordinator, self._digest, self._fault = coordinator, digest, fault
        self._store = HalfWay(folder, lambda: fault(self._line))

    def completes(self) -> None:
        light = self._coordinator.worker("aws")
        with Line(light.bulk) as self._line:
            options = channel_options(PING_S, PING_S)
            channel = dial(self._line.address, light.credentials, options)
            link = BulkLink(channel, Event())
            fetching = Thread(
                target=link.fetch,
                args=(self._digest, "version", self._store, FILE_BYTES),
                daemon=True,
            )
            fetching.start()
            fetching.join(PATIENCE_S)
            assert not fetching.is_alive(), "it hangs"
            link.close()
        assert not self._store.damaged([self._digest])
        assert self._line.num_connections > 1


def bulk_process(coordinator: LoneCoordinator) -> int:
    assert coordinator.process is not None
    return pid_of(coordinator.process.pid, "bulk")


def test_a_path_that_is_lost_without_a_word(
    coordinator: LoneCoordinator, digest: Digest, tmp_path: Path
) -> None:
    Download(coordinator, digest, tmp_path, Line.lose).completes()


def test_a_process_that_stops_for_longer_than_a_ping_waits(
    coordinator: LoneCoordinator, digest: Digest, tmp_path: Path
) -> None:
    pid = bulk_process(coordinator)

    def goes_on() -> None:
        time.sleep(5 * PING_S)
        os.kill(pid, signal.SIGCONT)

    def stop(_: Line) -> None:
        os.kill(pid, signal.SIGSTOP)
        Thread(target=goes_on).start()

    Download(coordinator, digest, tmp_path, stop).completes()


def test_a_process_that_stops_and_is_killed_while_it_is_dialled_again(
    coordinator: LoneCoordinator, digest: Digest, tmp_path: Path
) -> None:
    pid, process = bulk_process(coordinator), coordinator.process
    assert process is not None

    def starts_again() -> None:
        time.sleep(5 * PING_S)
        os.kill(pid, signal.SIGKILL)
        assert process.wait(PATIENCE_S)
        coordinator.start()

    def stop(_: Line) -> None:
        os.kill(pid, signal.SIGSTOP)
        Thread(target=starts_again).start()

    Download(coordinator, digest, tmp_path, stop).completes()
