"""`crosscloud probe` beside a real coordinator, and beside what workers and evaluators serve."""

import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from commands.demo.layout import COORDINATOR, EVALUATOR, OPERATOR
from services.observe.metrics.evaluator import EvaluatorMetrics
from services.observe.metrics.worker import WorkerMetrics
from services.observe.prometheus import serve
from tests.integration.conftest import ROOT, LoneCoordinator, Make

PORT = "CROSSCLOUD_{}__METRICS__PORT"


def probe(config: Path, **environ: str) -> tuple[int, str]:
    """Return the exit status and what is said."""
    done = subprocess.run(
        [sys.executable, "-m", "crosscloud", "probe", "--config", str(config)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environ},
        timeout=60,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def test_a_coordinator_that_serves_passes_and_logs_nothing_of_it(
    coordinator: LoneCoordinator,
) -> None:
    log = coordinator.layout.log(COORDINATOR)
    before = log.read_text()
    config = coordinator.layout.config(COORDINATOR)
    status, said = probe(config)
    assert status == 0, said
    ports = [a.rpartition(":")[2] for a in (coordinator.layout.control, coordinator.layout.bulk)]
    assert said == f"coordinator: version 0, serves on {ports[0]} and {ports[1]}"
    assert probe(config, CROSSCLOUD_COORDINATOR__METRICS__PORT="0")[0] == 0
    assert log.read_text() == before


def test_a_port_that_is_closed_or_anothers_fails(coordinator: LoneCoordinator) -> None:
    config = coordinator.layout.config(COORDINATOR)
    metrics = str(coordinator.layout.metrics_ports[COORDINATOR])
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        closed = str(free.getsockname()[1])
    for port, fix in (
        ("CROSSCLOUD_COORDINATOR__CONTROL_PORT", "the control port: look whether it leads"),
        ("CROSSCLOUD_COORDINATOR__BULK_PORT", "the bulk port: look whether it leads"),
        ("CROSSCLOUD_COORDINATOR__METRICS__PORT", "look whether the coordinator runs"),
    ):
        status, said = probe(config, **{port: closed})
        assert (status, fix in said) == (1, True), said
    status, said = probe(config, CROSSCLOUD_COORDINATOR__BULK_PORT=metrics)
    assert (status, "bulk_port and metrics.port are both" in said) == (1, True), said


def test_a_certificate_of_another_authority_fails(
    coordinator: LoneCoordinator, make_coordinator: Make
) -> None:
    other = make_coordinator(start=False).folder / "certs" / "ca.pem"
    config = coordinator.layout.config(COORDINATOR)
    status, said = probe(config, CROSSCLOUD_COORDINATOR__TLS__CA=str(other))
    assert (status, "CERTIFICATE_VERIFY_FAILED" in said) == (1, True), said


def test_a_worker_passes_whether_or_not_it_is_heard(coordinator: LoneCoordinator) -> None:
    config, port = coordinator.layout.config("aws"), coordinator.layout.metrics_ports["aws"]
    status, said = probe(config)
    assert (status, "look whether the worker runs" in said) == (1, True), said
    metrics = WorkerMetrics(run="test", worker="aws", software="0", tells_loss=False)
    with closing(serve(metrics.registry, "127.0.0.1", port)):
        assert probe(config) == (0, "worker: version 0, without a coordinator")
        metrics.connected(is_open=True)
        assert probe(config) == (0, "worker: version 0")


def test_an_evaluator_passes_and_is_told_from_a_worker(coordinator: LoneCoordinator) -> None:
    config, port = coordinator.layout.config(EVALUATOR), coordinator.layout.metrics_ports[EVALUATOR]
    with closing(serve(EvaluatorMetrics(run="test", software="0").registry, "127.0.0.1", port)):
        assert probe(config) == (0, "evaluator: version 0 is its newest")
        status, said = probe(coordinator.layout.config("aws"), **{PORT.format("WORKER"): str(port)})
        assert (status, "is not a worker's" in said) == (1, True), said


@pytest.mark.parametrize(
    ("name", "environ", "fix"),
    [
        ("aws", {PORT.format("WORKER"): "0"}, "metrics.port is 0"),
        (OPERATOR, {}, "an operator has no process"),
        ("nobody", {}, "no such file"),
    ],
)
def test_what_cannot_be_asked_fails_with_the_fix(
    coordinator: LoneCoordinator, name: str, environ: dict[str, str], fix: str
) -> None:
    status, said = probe(coordinator.layout.config(name), **environ)
    assert status == 1
    assert fix in said
