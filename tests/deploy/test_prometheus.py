"""A real run under a real Prometheus: what dashboards and rules ask for is there, and moves.

The run has troubles on purpose, so that no panel has a reason to be all zero: two workers are
stopped in mid-round (an abort), one is killed (lost), an operator pauses the run (idle workers),
and the coordinator is started again, over which its counts must go on.
"""

import math
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from commands.demo.federation import Federation
from commands.demo.layout import COORDINATOR, EVALUATOR, OPERATOR, FederationSpec, WorkerSpec
from services.coordinator.live.embedded_valkey import short_socket
from services.wire.operator_link import RunStatus
from tests.deploy.conftest import dashboards, panels, rules
from tests.deploy.prometheus_server import JOBS, Prometheus, prometheus_server

pytestmark = [
    pytest.mark.program("prometheus"),
    pytest.mark.timeout(900),  # the first test waits for the run
]

NAMES = ("aws", "azure", "gcp", "onprem")
TEXT = {"a.txt": "the quick brown fox jumps over the lazy dog. " * 400}
PATIENCE_S = 120.0
METRIC = re.compile(
    r"\b(?:run\w*:|instance:)?(?:crosscloud|process)_\w+(?::\w+)?|\bALERTS\b|\bup\b"
)
PANELS = [(name, panel) for name, d in dashboards().items() for panel in panels(d)]


def spec(folder: Path) -> FederationSpec:
    run = {
        "learner": "examples.own_learner:build",
        "settings": {"width": 64},
        "algorithm": {"local_steps": 10, "schedule": {"peak": 0.5, "warmup_steps": 10}},
        "stop": {"versions": 2000},
    }
    workers = tuple(WorkerSpec(n, TEXT, max_steps_per_s=30) for n in NAMES)
    timings = {
        "heartbeat_s": 0.5,
        "worker_lease_s": 6.0,
        "key_timeout_s": 3.0,
        "upload_timeout_s": 5.0,
        "first_grace_s": 0.5,
        "resolve_timeout_s": 1.0,
    }
    return FederationSpec(folder, "watched", workers, TEXT, run, timings=timings)


def until(federation: Federation, condition: Callable[[RunStatus], bool]) -> RunStatus:
    for _ in range(int(PATIENCE_S / 0.2)):
        if (status := federation.status()) is not None and condition(status):
            return status
        time.sleep(0.2)
    raise AssertionError(f"waited in vain; the status is {federation.status()}")


def abort_a_round(federation: Federation) -> None:
    """Stop two of four in the middle of a round: too few are left for a sum."""
    before = until(federation, lambda s: s.version > 0)
    stopped = [federation.process(name).pid for name in NAMES[:2]]
    for _ in range(10):
        until(federation, lambda s: s.phase != "collecting_offers")
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(9.0)  # longer than an answer, or a lease, may take
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        status = until(federation, lambda s: sum(w.live for w in s.workers) == len(NAMES))
        if status.aborts > before.aborts:
            return
    raise AssertionError("no round aborted")


def limit_memory(federation: Federation) -> None:
    """Give the coordinator's own Valkey a maxmemory, as an operator's server has one."""
    (lock,) = federation.layout.state(COORDINATOR).glob("**/server.lock")
    with short_socket(lock.parent) as path, Redis(unix_socket_path=str(path)) as server:
        server.config_set("maxmemory", 64 * 2**20)


def restart_coordinator(federation: Federation) -> None:
    process = federation.process(COORDINATOR)
    process.terminate()
    assert process.wait(60), process.last_lines()
    federation.restart(COORDINATOR)
    version = until(federation, lambda s: len(s.workers) == len(NAMES)).version
    until(federation, lambda s: s.version > version)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A run that is over, and the Prometheus that saw it."""
    folder = tmp_path_factory.mktemp("watched")
    federation = Federation(spec(folder / "watched"))
    ports = federation.layout.metrics_ports
    processes = ([COORDINATOR], [EVALUATOR], list(NAMES))
    targets = {
        job: [f"127.0.0.1:{ports[name]}" for name in names]
        for job, names in zip(JOBS, processes, strict=True)
    }
    with prometheus_server(folder / "prometheus", targets) as prometheus:
        with federation:
            until(federation, lambda s: s.version >= 3 and s.evaluation is not None)
            limit_memory(federation)
            abort_a_round(federation)
            restart_coordinator(federation)
            federation.run("pause", "--config", federation.config(OPERATOR))
            time.sleep(4.0)
            federation.run("resume", "--config", federation.config(OPERATOR))
            limit_memory(federation)
            version = until(federation, lambda s: s.version > 0).version
            until(federation, lambda s: s.version > version + 2)
            federation.process("onprem").kill()
            until(federation, lambda s: any(not w.live for w in s.workers))
            time.sleep(12.0)  # the slow look at the store comes every ten seconds
            prometheus.ended_s = time.time()
        yield prometheus


def resolved(prometheus: Prometheus, dashboard: dict[str, Any], expr: str) -> str:
    """Return the query as Grafana asks it, its variables at their defaults or at All."""
    values = {"__rate_interval": "10s", "__range": "2m"}
    for variable in dashboard["templating"]["list"]:
        name, query = variable["name"], variable["query"]
        if variable["type"] == "query":
            values[name] = value_of(prometheus, _filled(query["query"], values))
        elif isinstance(query, str):
            values[name] = query
    return _filled(expr, values)


def value_of(prometheus: Prometheus, query: str) -> str:
    asked = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    assert asked, query
    found = prometheus.labels_of(asked[1], asked[2])
    assert found, f"{query} finds nothing"
    return "|".join(re.escape(value).replace("\\", "\\\\") for value in found)


def _filled(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda m: values[m[1]], text)


QUIET = {"Members left out, and refusals"}
"""All zero where nobody refuses, or is late before the survivors are named; the series exist."""


def complaint(prometheus: Prometheus, exprs: list[str]) -> str:
    """Return why these queries of one panel show nothing; "" = they do."""
    values: list[float] = []
    for expr in exprs:
        if not (found := prometheus.over_the_run(expr)):
            return f"no data: {expr}"
        values += [v for series in found for _, v in series.samples if not math.isnan(v)]
    return "" if any(values) else f"all zero, or not a number: {exprs}"


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=[f"{n}: {p['title']}" for n, p in PANELS])
def test_a_panel_shows_something(watched: Prometheus, name: str, panel: dict[str, Any]) -> None:
    dashboard = dashboards()[name]
    exprs = [resolved(watched, dashboard, target["expr"]) for target in panel["targets"]]
    found = complaint(watched, exprs)
    assert not found or (panel["title"] in QUIET and found.startswith("all zero"))


def test_a_panel_that_shows_nothing_would_be_found(watched: Prometheus) -> None:
    version = "crosscloud_model_version"
    full = 'crosscloud_rounds_total{reason="storage_full"}'  # a trouble that this run does not have
    assert complaint(watched, [version]) == ""
    assert "all zero" in complaint(watched, [full])
    assert "no data" in complaint(watched, [version, "crosscloud_model_versions"])


def test_every_metric_that_a_panel_or_a_rule_names_is_there(watched: Prometheus) -> None:
    exprs = [t["expr"] for _, p in PANELS for t in p["targets"]] + [r["expr"] for r in rules()]
    named = {metric for expr in exprs for metric in METRIC.findall(expr)}
    assert len(named) > 40
    at = {"start": watched.began_s, "end": watched.ended_s}
    there = set(watched.ask("label/__name__/values", **at))
    assert not named - there


def test_every_recording_rule_has_a_result_and_no_rule_fails(watched: Prometheus) -> None:
    groups = watched.ask("rules")["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert len(found) == len(rules())
    assert not [(r["name"], r["lastError"]) for r in found if r["health"] != "ok"]
    for rule in rules():
        if "record" in rule:
            assert watched.over_the_run(rule["record"]), rule["record"]


def test_alerts_of_this_run_wait_and_those_that_it_has_no_reason_for_do_not(
    watched: Prometheus,
) -> None:
    """None fires: they wait for minutes, and the run takes one or two."""
    seen = {series.labels["alertname"] for series in watched.over_the_run("ALERTS")}
    # its certificates are good for a week, and a worker was killed
    assert {"CrosscloudCertificateExpiring", "CrosscloudWorkerLost"} <= seen
    assert not seen & {
        "CrosscloudCertificateExpired",
        "CrosscloudRedisDown",
        "CrosscloudRedisNearlyFull",
        "CrosscloudRunStalled",
    }


@pytest.mark.parametrize(
    "name",
    [
        "crosscloud_rounds_total",
        "crosscloud_coordinator_network_bytes_total",
        "crosscloud_worker_network_bytes_total",
        "crosscloud_worker_tokens_total",
        "crosscloud_committed_tokens_total",
        "crosscloud_worker_contributions_total",
        "crosscloud_cohort_workers_count",
    ],
)
def test_a_count_goes_on_over_the_coordinators_restart(watched: Prometheus, name: str) -> None:
    (life,) = watched.over_the_run('changes(process_start_time_seconds{job=~".*coordinator"}[1h])')
    assert max(value for _, value in life.samples) == 1
    for series in watched.over_the_run(name):
        values = [value for _, value in series.samples]
        assert values == sorted(values), series.labels


def test_in_the_masked_tier_no_loss_norm_or_saturation_is_of_one_worker(
    watched: Prometheus,
) -> None:
    match = '{job="crosscloud-coordinator", worker!=""}'
    names = watched.labels_of(match, "__name__")
    assert len(names) > 10
    assert not [n for n in names if re.search("loss|norm|satur|clip|accuracy|perplexity", n)]
