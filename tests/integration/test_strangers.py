"""Whoever reaches a port without a certificate: it costs the coordinator neither log nor life.

Connections are real and say nothing; the processes may open few files, so that few are enough.
"""

import contextlib
import itertools
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import yaml

from commands.demo.layout import COORDINATOR
from protos.v1 import session_pb2, session_pb2_grpc
from services.observe.metrics_server import MOST_OPEN, REQUEST_S, BoundedServer
from services.process.descriptors import RESERVE
from services.wire.channels import OPTIONS
from tests.integration.conftest import Make, commit_round
from tests.rig.links.besieged import MAX_FILES
from tests.rig.workers.light_worker import LightWorker

LIMITED = """
import os, resource, sys
num = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (num, num))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
TIMEOUT_S = 60.0


@contextlib.contextmanager
def siege(port: int, num: int) -> Iterator[list[socket.socket]]:
    """Open so many connections, and say nothing on them."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), TIMEOUT_S))
            for _ in range(num)
        ]


def closed_by_server(connection: socket.socket) -> bool:
    """Return whether the server has closed a connection by now."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def wait_until_closed(connections: list[socket.socket], num: int) -> None:
    """Return once the server has closed at least so many."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while sum(map(closed_by_server, connections)) < num:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


class Besieged:
    """See tests/rig/links/besieged.py."""

    def __init__(self, folder: Path, kind: str) -> None:
        command = ["-m", "tests.rig.links.besieged", str(folder), kind]
        self._process = subprocess.Popen(
            [sys.executable, "-c", LIMITED, str(MAX_FILES), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, command: str) -> str:
        self.tell(command)
        return self.hear()

    def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@pytest.fixture
def besieged(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Besieged]:
    made = Besieged(tmp_path, request.param)
    yield made
    made.close()


@pytest.mark.parametrize("besieged", ["unbounded"], indirect=True)
def test_without_a_bound_idle_connections_take_the_log_s_descriptors(besieged: Besieged) -> None:
    with siege(int(besieged.ask("port")), MAX_FILES):
        assert besieged.ask("exhausted") == "OutOfDescriptorsError", "busy: the disk is well"
        besieged.tell("patiently")
    assert besieged.hear() == "appended", "as soon as they are gone, whoever waited goes on"


@pytest.mark.long("the next test has a whole coordinator's ports, and a log that goes on")
@pytest.mark.parametrize("besieged", ["bounded"], indirect=True)
def test_of_a_bounded_port_s_idle_connections_most_are_closed_and_the_log_goes_on(
    besieged: Besieged,
) -> None:
    num, allowed = 2 * MAX_FILES, MAX_FILES - RESERVE
    with siege(int(besieged.ask("port")), num) as connections:
        wait_until_closed(connections, num - allowed)
        assert besieged.ask("append") == "appended"
        wait_until_closed(connections, num)  # of the rest, each said nothing for too long
        assert besieged.ask("append") == "appended"


def test_strangers_on_every_port_of_a_coordinator_stop_no_round_and_keep_nobody_out_for_ever(
    make_coordinator: Make,
) -> None:
    coordinator = make_coordinator(start=False)
    max_files, num = 2 * RESERVE, 2 * RESERVE
    coordinator.max_files = max_files
    coordinator.start()
    settings = yaml.safe_load(coordinator.layout.config(COORDINATOR).read_text())
    ports = (settings["control_port"], settings["bulk_port"], settings["metrics"]["port"])
    with coordinator.worker("aws") as aws, contextlib.ExitStack() as stack:
        aws.join()
        offers = (aws.offer(nonce=f"{i:032x}") for i in itertools.count())
        next(offers)
        commit_round(aws)
        waiting = [stack.enter_context(siege(port, num)) for port in ports]
        for connections in waiting[:2]:
            wait_until_closed(connections, num - (max_files - RESERVE))
        for _ in range(2):
            next(offers)
            commit_round(aws)
        for connections in waiting:
            wait_until_closed(connections, num)
        next(offers)
        commit_round(aws)
        with coordinator.worker("azure") as azure:
            azure.join()
    assert coordinator.process is not None
    assert coordinator.process.exit_code is None
    told = coordinator.layout.log(COORDINATOR).read_text()
    assert f"control port: at most {max_files - RESERVE} connections" in told
    assert f"open files and connections: at most {max_files}" in told


# A worker that reads nothing


def flood(worker: LightWorker, is_over: threading.Event) -> Iterator[session_pb2.ConnectRequest]:
    """Say who it is, then what is refused, for as long as anybody takes it."""
    yield session_pb2.ConnectRequest(join=worker.join_message())
    while not is_over.is_set():
        yield session_pb2.ConnectRequest()


def test_a_worker_that_reads_nothing_is_let_go_and_told_so_if_it_ever_reads(
    make_coordinator: Make,
) -> None:
    coordinator = make_coordinator()
    is_over = threading.Event()
    log = coordinator.layout.log(COORDINATOR)
    azure = coordinator.worker("azure")
    with contextlib.ExitStack() as stack, coordinator.worker("aws") as aws:
        aws.join()
        narrow = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024))
        channel = stack.enter_context(
            grpc.secure_channel(azure.control, azure.credentials, (*OPTIONS, *narrow))
        )
        call = session_pb2_grpc.SessionStub(channel).Connect(flood(azure, is_over))
        deadline_s = time.monotonic() + TIMEOUT_S
        while "disconnected: azure" not in log.read_text():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert "256 messages wait on the stream of azure: it reads too slowly" in log.read_text()
        with pytest.raises(grpc.RpcError, match="it reads too slowly"):
            list(call)
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        is_over.set()
        aws.send(heartbeat=session_pb2.Heartbeat(speed=100))
        aws.receive("pace")
    with coordinator.worker("azure", boot="22" * 8) as azure:
        azure.join()


# The metrics port


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Iterator[BoundedServer]:
    def app(environ: dict[str, object], start_response: object) -> list[bytes]:
        assert callable(start_response)
        start_response("200 OK", [])
        return [b"metrics"]

    server = BoundedServer("127.0.0.1", 0, app, clock)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def scraped(server: BoundedServer) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", timeout=60) as answer:
        found: bytes = answer.read()
        return found


def test_idle_connections_to_the_metrics_port_keep_nobody_from_a_scrape(
    metrics: BoundedServer,
) -> None:
    with siege(metrics.server_port, 10 * MOST_OPEN) as connections:
        assert scraped(metrics) == b"metrics"
        assert metrics.num_open <= 2 * MOST_OPEN
        wait_until_closed(connections, 9 * MOST_OPEN)
        assert scraped(metrics) == b"metrics"


def test_a_caller_that_drips_is_cut_after_its_time(metrics: BoundedServer, clock: Clock) -> None:
    with siege(metrics.server_port, 1) as (connection,):
        connection.sendall(b"GET / HT")
        while not metrics.num_open:
            time.sleep(0.01)
        clock.now_s = REQUEST_S + 1
        wait_until_closed([connection], 1)
    assert scraped(metrics) == b"metrics"
