import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands.demo.layout import COORDINATOR, FederationSpec, Layout, WorkerSpec
from commands.doctor.ports import own_ports
from common.errors import ConfigError
from services.config.settings import load_coordinator, load_worker
from services.observe.metrics.worker import WorkerMetrics
from services.observe.prometheus import serve
from services.trust.identity import Role

RUN: dict[str, Any] = {
    "learner": "examples.own_learner:build",
    "algorithm": {"tier": "tls", "min_cohort": 1},
    "stop": {"versions": 1},
}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    text = {"a.txt": "text"}
    spec = FederationSpec(tmp_path / "run", "test", (WorkerSpec("aws", text),), text, RUN)
    made = Layout(spec)
    made.write()
    made.genesis.parent.mkdir()
    made.genesis.write_text("{}")
    return made


def test_free_ports_are_listed(layout: Layout) -> None:
    said = own_ports(load_coordinator(layout.config(COORDINATOR)), Role.COORDINATOR, runs=True)
    assert said.endswith("can be listened on")
    for what in ("control_port", "bulk_port", "metrics.port"):
        assert what in said


@pytest.mark.parametrize("what", ["control_port", "bulk_port", "metrics.port"])
def test_a_port_that_something_else_has_is_named(layout: Layout, what: str) -> None:
    settings = load_coordinator(layout.config(COORDINATOR))
    port = settings.metrics.port if what == "metrics.port" else getattr(settings, what)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        with pytest.raises(ConfigError, match=rf"^{what}: cannot listen"):
            own_ports(settings, Role.COORDINATOR, runs=True)


def test_a_worker_that_runs_already_is_no_fault_and_one_without_a_port_is_none_either(
    layout: Layout,
) -> None:
    config = layout.config("aws")
    settings = load_worker(config)
    metrics = WorkerMetrics(run="test", worker="aws", software="1", tells_loss=True)
    with closing(serve(metrics.registry, settings.metrics.host, settings.metrics.port)):
        assert "runs here" in own_ports(settings, Role.WORKER, runs=True)
        with pytest.raises(ConfigError, match=r"^metrics\.port"):  # it is no evaluator
            own_ports(settings, Role.EVALUATOR, runs=True)
        with pytest.raises(ConfigError, match=r"^metrics\.port"):  # nor is it this folder's
            own_ports(settings, Role.WORKER, runs=False)
    closed = {**yaml.safe_load(config.read_text()), "metrics": {"port": 0}}
    config.write_text(yaml.safe_dump(closed))
    assert own_ports(load_worker(config), Role.WORKER, runs=True) == "none is listened on"
