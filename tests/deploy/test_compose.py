"""deploy/compose under a real Docker engine: what it starts, what it survives, what its walls stop.

The tests follow one federation, in this order. They take minutes, and tens of minutes on a machine
that has to build the images first.
"""

import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.request import urlopen

import pytest

from services.process.exit_status import Exit
from tests.deploy.stack import OURS, SERVICES, WORKERS, Stack, docker
from tests.rig.programs import LackingError

pytestmark = [
    pytest.mark.program("docker"),
    pytest.mark.timeout(3600),  # a busy machine is no failure: each wait has its own limit
]

WRITTEN = {"redis": ["/data"], "prometheus": []}
STATUS = ("status", "--json", "--config", "/etc/crosscloud/config.yaml")
CONNECT = """
import concurrent.futures, json, socket, sys
def answers(address):
    try:
        socket.create_connection(tuple(address), 5).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True
addresses = json.loads(sys.argv[1])
with concurrent.futures.ThreadPoolExecutor(64) as pool:
    print(json.dumps(list(pool.map(answers, addresses))))
"""
KILL = """
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    words = open(f"/proc/{pid}/cmdline").read().split("\\0")
    if any(w.endswith("/crosscloud") for w in words):
        os.kill(int(pid), 9)
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    try:
        stack = Stack()
    except LackingError as e:
        pytest.skip(str(e))
    stack.build()
    stack.down()
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


def test_it_comes_up_healthy_and_trains_masked_to_version_10(stack: Stack) -> None:
    assert stack.inspect("setup")["State"]["ExitCode"] == 0
    for service in SERVICES:
        stack.wait(partial(stack.healthy, service), f"healthy {service}")
    stack.await_version(10)
    said = json.loads(stack.compose("run", "--rm", "operator", *STATUS))
    assert said["privacy"].startswith("masked")
    assert {w["name"] for w in said["workers"] if w["contributions"]} == set(WORKERS)


def test_prometheus_sees_every_target_up_and_has_the_rules(stack: Stack) -> None:
    address = stack.compose("port", "prometheus", "9090").strip()

    def ask(path: str) -> Any:
        with urlopen(f"http://{address}/api/v1/{path}", timeout=30) as answer:
            return json.load(answer)["data"]

    def up() -> dict[str, str]:
        return {s["metric"]["instance"]: s["value"][1] for s in ask("query?query=up")["result"]}

    targets = {"coordinator:7446", "evaluator:7446", "localhost:9090"}
    stack.wait(lambda: up() == dict.fromkeys(targets, "1"), "target up")
    kinds = {rule["type"] for group in ask("rules")["groups"] for rule in group["rules"]}
    assert kinds == {"alerting", "recording"}


@pytest.mark.parametrize("role", ["coordinator", "worker", "evaluator"])
def test_an_image_is_labelled_not_root_and_keeps_no_secret(stack: Stack, role: str) -> None:
    image = json.loads(docker("image", "inspect", f"crosscloud-{role}:test").stdout)[0]
    config = image["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"][0] == "dumb-init"
    assert config["Cmd"][0] == role
    assert config["Healthcheck"]["Test"][:3] == ["CMD", "crosscloud", "probe"]
    for label in ("title", "description", "version", "revision", "licenses"):
        assert config["Labels"][f"org.opencontainers.image.{label}"], label
    history = docker("history", "--no-trunc", "--format={{.CreatedBy}}", image["Id"]).stdout
    assert "PIP_" not in history
    look = "find / -xdev ( -name *.key -o -name pip.conf -o -name *.whl -o -name .git ) -type f"
    run = ("run", "--rm", "--user=0", "--entrypoint=find", f"crosscloud-{role}:test")
    found = docker(*run, *look.split()[1:]).stdout.split()
    assert [f for f in found if "ensurepip" not in f and "python-wheels" not in f] == []


def test_the_coordinators_image_has_no_torch_and_the_workers_no_redis(stack: Stack) -> None:
    def imports(role: str, package: str) -> bool:
        command = ("--entrypoint=python", f"crosscloud-{role}:test", "-c", f"import {package}")
        done = docker("run", "--rm", *command, check=False)
        assert done.returncode == 0 or f"No module named '{package}'" in done.stderr, done.stderr
        return done.returncode == 0

    assert imports("coordinator", "redis")
    assert not imports("coordinator", "torch")
    assert not imports("coordinator", "transformers")
    assert imports("worker", "torch")
    assert not imports("worker", "redis")


@pytest.mark.parametrize("service", SERVICES)
def test_roots_are_read_only_and_nobody_is_root(stack: Stack, service: str) -> None:
    host = stack.inspect(service)["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    touch = "for f in / /usr/bin /etc /etc/crosscloud /data /tmp; do touch $f/mark && echo $f; done"
    user, *written = stack.execute(
        service, "sh", "-c", f"id -u; {touch}", check=False
    ).stdout.split()
    assert int(user) > 0
    assert written == (["/data", "/tmp"] if service in OURS else WRITTEN[service])


def test_nobody_holds_anothers_key(stack: Stack) -> None:
    for service in OURS:
        found = stack.execute(service, "find", "/etc/crosscloud", "/data", "-name", "*.key").stdout
        assert found.split() == [f"/etc/crosscloud/{service}.key"]


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_reaches_the_coordinator_and_nobody_else(stack: Stack, worker: str) -> None:
    def networks(service: str) -> dict[str, Any]:
        found: dict[str, Any] = stack.inspect(service)["NetworkSettings"]["Networks"]
        return found

    (own,) = networks(worker)
    forbidden = []
    for service, port in {**dict.fromkeys(OURS, 7446), "redis": 6379, "prometheus": 9090}.items():
        others = {n: a["IPAddress"] for n, a in networks(service).items() if n != own}
        forbidden += [(address, port) for address in others.values()]
        if service not in ("coordinator", worker):
            forbidden.append((service, port))
            assert own not in networks(service)
    addresses = [("coordinator", 7443), ("coordinator", 7444), *forbidden]
    said = stack.execute(worker, "python", "-c", CONNECT, json.dumps(addresses)).stdout
    reached = [a for a, answered in zip(addresses, json.loads(said), strict=True) if answered]
    assert reached == [("coordinator", 7443), ("coordinator", 7444)]


@pytest.mark.parametrize("service", SERVICES)
def test_versions_go_on_growing_after_a_container_is_killed(stack: Stack, service: str) -> None:
    docker("kill", stack.container(service))
    docker("start", stack.container(service))
    stack.wait(lambda: stack.version() >= 0, "coordinator")
    before = stack.version()
    stack.await_version(before + 2)
    stack.wait(lambda: stack.healthy(service), f"healthy {service}")


@pytest.mark.parametrize("service", ["coordinator", "azure"])
def test_a_process_that_dies_is_started_again_by_itself(stack: Stack, service: str) -> None:
    before = stack.inspect(service)
    stack.execute(service, "python", "-c", KILL, check=False)
    stack.wait(
        lambda: stack.inspect(service)["RestartCount"] > before["RestartCount"], "start again"
    )
    stack.wait(lambda: stack.version() >= 0, "coordinator")
    stack.await_version(stack.version() + 2)


@pytest.mark.parametrize("service", ["gcp", "evaluator", "coordinator"])
def test_a_stop_reaches_the_process_which_ends_in_order(stack: Stack, service: str) -> None:
    grace_s = stack.inspect(service)["Config"]["StopTimeout"]
    assert grace_s >= 30
    began_s = time.monotonic()
    docker("stop", "--time=300", stack.container(service))
    state = stack.inspect(service)["State"]
    assert state["ExitCode"] == Exit.TOLD, (state, time.monotonic() - began_s, stack.logs())
    docker("start", stack.container(service))


def test_after_down_the_next_up_goes_on_with_the_same_run(stack: Stack) -> None:
    stack.wait(lambda: stack.version() >= 0, "coordinator")
    before = stack.version()
    stack.compose("down")
    stack.up()
    stack.await_version(before + 1)
