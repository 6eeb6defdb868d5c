import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from common.documents import Counters, Evaluation, WorkerCounters
from services.metrics import (
    PHASES,
    CoordinatorMetrics,
    EvaluatorMetrics,
    WorkerMetrics,
    WorkerReport,
    serve,
)

REPORT = WorkerReport(
    version=7,
    steps_total=120,
    tokens_total=184_320,
    pending_steps=11,
    steps_per_s=4.5,
    idle_share=0.02,
    speed=6912.0,
    link_bps=8e6,
    bytes_sent={"update": 5_000_000, "control": 9000},
    bytes_received={"aggregate": 6_000_000},
    resident_bytes=400_000_000,
    merges_total=7,
    healed_leaves_total=0,
)
EVALUATION = Evaluation(version=7, loss=2.25, accuracy=0.41, perplexity=9.49, tokens=4096)
COUNTERS = Counters(
    tokens=184_320,
    steps=120,
    payload_bytes=5_000_000,
    float32_bytes=20_000_000,
    workers={"aws": WorkerCounters(contributions=4, tokens=100, steps=60, age_256=512)},
)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(registry: CollectorRegistry) -> Samples:
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def coordinator() -> CoordinatorMetrics:
    metrics = CoordinatorMetrics(run="demo", software="0.1.0", tier="tls")
    for worker in ("aws", "gcp"):
        metrics.worker_heartbeat(worker, REPORT, lag=1)
        metrics.bytes_moved(worker, "sent", "update", 5_000_000)
    metrics.round_phase("collect_masked")
    metrics.round_ended("committed", "", 0.4, 4)
    metrics.contributed(1.5)
    metrics.aggregated(0.7, 0.01, 4)
    metrics.commit_took(0.1)
    metrics.append_took(0.01)
    metrics.waiting(seconds=1.5, live_workers=2, offers=1, paused=False)
    metrics.recorded(num_records=9, version=7, progress=0.25, counters=COUNTERS)
    metrics.evaluated(EVALUATION)
    return metrics


def worker() -> WorkerMetrics:
    metrics = WorkerMetrics(run="demo", worker="aws", software="0.1.0")
    metrics.reported(REPORT, loss_nats=2.5)
    metrics.connected(True)
    metrics.round_ended("contributed")
    metrics.took("upload", 0.2)
    return metrics


def evaluator() -> EvaluatorMetrics:
    metrics = EvaluatorMetrics(run="demo", software="0.1.0")
    metrics.evaluated(EVALUATION, 1.2)
    metrics.bytes_moved("received", "version", 4_000_000)
    return metrics


@pytest.mark.parametrize("build", [coordinator, worker, evaluator])
def test_names_follow_the_conventions_of_prometheus(build):
    text = generate_latest(build().registry).decode()
    families = [
        f for f in text_string_to_metric_families(text) if not f.name.startswith("process_")
    ]
    assert len(families) > 5
    for family in families:
        assert re.fullmatch(r"crosscloud(_[a-z0-9]+)+", family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert family.type in {"counter", "gauge", "histogram"}, family.name
        assert not re.search(r"_(total|count|sum|bucket|ms|percent|mib)$", family.name), family.name
        for sample in family.samples:
            suffix = sample.name.removeprefix(family.name)
            allowed = {"counter": {"_total"}, "gauge": {""}}
            assert suffix in allowed.get(family.type, {"_bucket", "_count", "_sum"}), sample.name


@pytest.mark.parametrize("build", [coordinator, worker, evaluator])
def test_no_series_stands_twice(build):
    text = generate_latest(build().registry).decode()
    names = [s.split(" ")[2] for s in text.splitlines() if s.startswith("# TYPE")]
    series = [s.rsplit(" ", 1)[0] for s in text.splitlines() if not s.startswith("#")]
    assert len(names) == len(set(names))
    assert len(series) == len(set(series))


def test_the_processes_of_one_run_share_no_name():
    names = [
        {name for name, _ in samples(build().registry) if name.startswith("crosscloud")}
        for build in (coordinator, worker, evaluator)
    ]
    assert not names[0] & names[1]
    assert not names[0] & names[2]
    assert not names[1] & names[2]


def test_a_second_owner_of_a_name_is_refused():
    with pytest.raises(ValueError, match="crosscloud_worker_steps"):
        coordinator().registry.counter("worker_steps", "Again.")


def test_heartbeat_numbers_stand_under_their_worker():
    found = samples(coordinator().registry)
    assert found["crosscloud_worker_steps_total", (("worker", "aws"),)] == 120
    assert found["crosscloud_worker_steps_per_second", (("worker", "gcp"),)] == 4.5
    assert found["crosscloud_worker_lag_versions", (("worker", "aws"),)] == 1
    sent = (("direction", "sent"), ("kind", "update"), ("worker", "aws"))
    assert found["crosscloud_worker_network_bytes_total", sent] == 5_000_000


def test_cumulative_counts_of_the_log_are_shown_with_the_mean_staleness():
    found = samples(coordinator().registry)
    assert found["crosscloud_committed_float32_bytes_total", ()] == 20_000_000
    assert found["crosscloud_worker_contributions_total", (("worker", "aws"),)] == 4
    assert found["crosscloud_worker_staleness_versions", (("worker", "aws"),)] == 0.5


def test_kinds_that_a_worker_invents_become_one_label():
    metrics = coordinator()
    report = WorkerReport(**{**_fields(REPORT), "bytes_sent": {"x1": 3, "x2": 4, "update": 1}})
    metrics.worker_heartbeat("aws", report, lag=0)
    found = samples(metrics.registry)
    other = (("direction", "sent"), ("kind", "other"), ("worker", "aws"))
    assert found["crosscloud_worker_network_bytes_total", other] == 7
    assert not [labels for _, labels in found if ("kind", "x1") in labels]


def test_a_removed_workers_series_go_and_the_others_stay():
    metrics = coordinator()
    metrics.worker_removed("aws")
    metrics.recorded(num_records=10, version=8, progress=0.3, counters=COUNTERS)
    workers = {dict(labels).get("worker") for _, labels in samples(metrics.registry)}
    assert workers == {None, "gcp"}


def test_a_removed_worker_that_returns_is_shown_again():
    metrics = coordinator()
    metrics.worker_removed("aws")
    metrics.worker_heartbeat("aws", REPORT, lag=0)
    metrics.recorded(num_records=10, version=8, progress=0.3, counters=COUNTERS)
    found = samples(metrics.registry)
    assert found["crosscloud_worker_contributions_total", (("worker", "aws"),)] == 4


def test_a_lost_worker_keeps_its_counts_and_has_no_speed():
    metrics = coordinator()
    metrics.worker_lost("aws")
    found = samples(metrics.registry)
    assert found["crosscloud_worker_live", (("worker", "aws"),)] == 0
    assert found["crosscloud_worker_steps_per_second", (("worker", "aws"),)] == 0
    assert found["crosscloud_worker_steps_total", (("worker", "aws"),)] == 120


def test_counters_never_go_down_while_their_owner_lives():
    metrics = coordinator()
    before = samples(metrics.registry)
    metrics.worker_heartbeat("aws", REPORT, lag=0)
    metrics.worker_lost("gcp")
    metrics.round_ended("aborted", "below_threshold", 3.0, 4)
    metrics.bytes_moved("aws", "sent", "update", 1)
    metrics.recorded(num_records=10, version=7, progress=0.25, counters=COUNTERS)
    after = samples(metrics.registry)
    counts = [k for k in before if k[0].startswith("crosscloud") and k[0].endswith("_total")]
    assert len(counts) > 20
    assert all(after[k] >= before[k] for k in counts)


def test_exactly_one_phase_is_current():
    metrics = coordinator()
    for phase in PHASES:
        metrics.round_phase(phase)
        found = samples(metrics.registry)
        shown = {p: found["crosscloud_round_phase", (("phase", p),)] for p in PHASES}
        assert shown == {p: float(p == phase) for p in PHASES}


def test_norm_and_saturation_of_a_lone_update_are_not_shown():
    metrics = coordinator()
    metrics.aggregated(0.9, 0.2, num_survivors=1)
    found = samples(metrics.registry)
    assert found["crosscloud_aggregate_norm", ()] == 0.7
    assert found["crosscloud_aggregate_saturation_ratio", ()] == 0.01


def test_a_codec_that_clips_nothing_has_no_saturation():
    metrics = coordinator()
    metrics.aggregated(0.9, None, num_survivors=2)
    assert samples(metrics.registry)["crosscloud_aggregate_saturation_ratio", ()] == 0


def test_no_loss_of_one_worker_stands_on_the_coordinator():
    with_worker = {
        name
        for name, labels in samples(coordinator().registry)
        if "worker" in dict(labels) and re.search("loss|norm|clip|satur|accuracy|perplexity", name)
    }
    assert not with_worker


def test_port_zero_serves_nothing():
    server = serve(worker().registry, "127.0.0.1", 0)
    assert server.port == 0
    server.close()


def _fields(report: WorkerReport) -> dict:
    return {name: getattr(report, name) for name in report.__slots__}
