"""`crosscloud doctor` of every role, beside a real coordinator, and against what can be wrong."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.local.layout import COORDINATOR, EVALUATOR, OPERATOR
from tests.connect_proxy import ConnectProxy
from tests.integration.conftest import ROOT, LoneCoordinator


def doctor(config: Path, **environ: str) -> tuple[int, dict[str, dict[str, Any]]]:
    command = [sys.executable, "-m", "crosscloud", "doctor", "--json", "--config", str(config)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environ},
        timeout=60,
    )
    answer = json.loads(done.stdout or done.stderr)
    return done.returncode, {c["check"]: c for c in answer["checks"]}


WAY = {f"{port} {step}" for port in ("control", "bulk") for step in ("name", "tcp", "tls")}
LEARNING = {"learner", "data", "step", "ports"}
DISK = {"disk room", "disk fsync", "disk links"}


@pytest.mark.parametrize(
    ("name", "checks"),
    [
        (COORDINATOR, {"members", "redis", "ports", *DISK}),
        ("aws", {*LEARNING, "control grpc", "clock", *WAY, *DISK}),
        (EVALUATOR, {*LEARNING, "control grpc", "clock", *WAY, *DISK} - {"disk links"}),
        (OPERATOR, {"control grpc", "clock"} | {w for w in WAY if w.startswith("control")}),
    ],
)
def test_a_sound_federation_is_found_sound(
    coordinator: LoneCoordinator, name: str, checks: set[str]
) -> None:
    status, found = doctor(coordinator.layout.config(name))
    assert [c for c in found.values() if not c["ok"]] == []
    assert found.keys() == {"configuration", "certificate", *checks}
    assert status == 0


STEPS = """
import os, signal
from examples.own_learner import TwoByteModel

class Fails(TwoByteModel):
    def train(self, lr):
        raise IndexError("too short")

class Killed(TwoByteModel):
    def train(self, lr):
        os.kill(os.getpid(), signal.SIGKILL)

build, killed = Fails, Killed
"""


def test_what_a_process_reads_and_takes_is_said(coordinator: LoneCoordinator) -> None:
    _, worker = doctor(coordinator.layout.config("aws"))
    assert "data.train: 1 file, 1 document, 8,201 tokens" in worker["data"]["sentence"]
    assert "a full batch: 496 tokens at " in worker["step"]["sentence"]
    assert "of memory, loss 5." in worker["step"]["sentence"]
    _, evaluator = doctor(coordinator.layout.config(EVALUATOR))
    assert "data.validation: 1 file" in evaluator["data"]["sentence"]
    assert "the validation shard: " in evaluator["step"]["sentence"]


def test_each_thing_that_is_wrong_is_named_with_its_fix(
    coordinator: LoneCoordinator, tmp_path: Path
) -> None:
    config = coordinator.layout.config("aws")
    path = f"{ROOT}:{tmp_path}"

    def refused(check: str, **environ: str) -> str:
        status, found = doctor(config, **environ)
        assert status == 1
        assert not found[check]["ok"]
        return str(found[check]["sentence"])

    certs = coordinator.folder / "certs"
    key = "CROSSCLOUD_WORKER__TLS__KEY"
    assert "is not the key of" in refused("certificate", **{key: str(certs / "gcp.key")})
    control = "CROSSCLOUD_WORKER__COORDINATOR__CONTROL"
    assert "DNS" in refused("control name", **{control: "no-such-host.invalid:7443"})
    assert "check address" in refused("control tcp", **{control: "127.0.0.1:1"})
    metrics = f"127.0.0.1:{coordinator.layout.metrics_ports[COORDINATOR]}"
    assert "end TLS" in refused("control tls", **{control: metrics})
    learner = "CROSSCLOUD_WORKER__LEARNER"
    assert "cannot be imported" in refused("learner", **{learner: "no_such_package:build"})
    (tmp_path / "fails.py").write_text("def build(context):\n    raise KeyError('width')\n")
    sentence = refused("learner", **{learner: "fails:build", "PYTHONPATH": path})
    assert "KeyError: 'width'" in sentence
    assert "fails.py, line 2" in sentence
    (tmp_path / "steps.py").write_text(STEPS)
    assert "IndexError: too short" in refused("step", **{learner: "steps:build", "PYTHONPATH": path})
    assert "SIGKILL" in refused("step", **{learner: "steps:killed", "PYTHONPATH": path})
    data = "CROSSCLOUD_WORKER__DATA"
    assert "data.train: 'absent' names no file" in refused("learner", **{data: "{train: [absent]}"})
    port = "CROSSCLOUD_WORKER__METRICS__PORT"
    assert "metrics.port: cannot listen" in refused("ports", **{port: metrics.rpartition(":")[2]})
    state = "CROSSCLOUD_WORKER__STATE_DIR"
    (tmp_path / "file").write_text("")
    assert "writable" in refused("disk fsync", **{state: str(tmp_path / "file" / "state")})
    assert "unknown" in refused("configuration", CROSSCLOUD_WORKER__COLOUR="blue").lower()
    assert "proxy" in refused("control tcp", https_proxy="http://127.0.0.1:1")
    assert "refuses CONNECT" in refused("control tcp", https_proxy=f"http://{metrics}")


def test_the_way_leads_through_the_proxy_that_is_configured(
    coordinator: LoneCoordinator,
) -> None:
    with ConnectProxy() as proxy:
        status, found = doctor(coordinator.layout.config("aws"), https_proxy=proxy.url)
        assert [c for c in found.values() if not c["ok"]] == []
        assert "by the proxy" in found["control tcp"]["sentence"]
        layout = coordinator.layout
        # name, TCP and TLS walk alone; then gRPC itself
        assert proxy.asked == [*[layout.control] * 2, *[layout.bulk] * 2, layout.control]
    assert status == 0


def test_redis_that_is_not_there_is_named(coordinator: LoneCoordinator) -> None:
    config = coordinator.layout.config(COORDINATOR)
    url = "redis://:top-secret@127.0.0.1:1/0"
    status, found = doctor(config, CROSSCLOUD_COORDINATOR__REDIS_URL=url)
    assert status == 1
    assert "start it, correct the URL" in found["redis"]["sentence"]
    assert "top-secret" not in json.dumps(found)
