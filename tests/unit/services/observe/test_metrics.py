import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from common.documents import Counters, WorkerCounters
from common.rounds import AbortReason, LeaveReason, Phase, Rule
from protos.v1.session_pb2 import Heartbeat
from services.observe.metrics.coordinator import CoordinatorMetrics
from services.observe.metrics.evaluator import EvaluatorMetrics
from services.observe.metrics.health import add_health
from services.observe.metrics.heartbeat import BY_KIND, NUMBERS
from services.observe.metrics.worker import WorkerMetrics
from services.observe.process_health import Sample, process_health
from services.observe.prometheus import Family, Registry, Reported, serve
from services.wire.traffic import KINDS, TrafficCounts
from tests.rig.certificates import DAY, NOW, authority, tls_files
from tests.rig.rounds.masked_members import measured

PHASES = tuple(p.value for p in Phase if not p.is_over)

REPORT = Heartbeat(
    version=7,
    steps_total=120,
    tokens_total=184_320,
    pending_steps=11,
    steps_per_s=4.5,
    idle_share=0.02,
    speed=6912,
    link_bps=8_000_000,
    bytes_sent={"update": 5_000_000, "control": 9000},
    bytes_received={"aggregate": 6_000_000},
    float32_sent={"update": 20_000_000},
    float32_received={"aggregate": 20_000_000},
    resident_bytes=400_000_000,
    merges_total=7,
    healed_segments_total=0,
)
EVALUATION = measured(7, 2.25, accuracy=0.41, perplexity=9.49)
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
    metrics.bytes_moved("evaluator", "received", "download", 3)
    metrics.round_phase("collect_masked")
    metrics.round_ended("committed", "", 0.4, 4)
    metrics.contributed(1.5)
    metrics.aggregated(0.7, 0.01, 4)
    metrics.commit_took(0.1, 0.04)
    metrics.phase_took("unmask", 0.2)
    metrics.worker_listed("aws", "acme")
    metrics.store_answered(1_000_000, 64_000_000)
    metrics.append_took(0.01)
    metrics.waiting(seconds=1.5, live_workers=2, offers=1, paused=False)
    metrics.recorded(num_records=9, version=7, progress=0.25, counters=COUNTERS)
    metrics.evaluated(EVALUATION)
    add_health(metrics.registry, health)
    return metrics


def health() -> Iterator[Sample]:
    """What `process_health` reads, of a process that is well."""
    yield "certificate_not_after_timestamp_seconds", 1.8e9, ("certificate",)
    yield "certificate_not_after_timestamp_seconds", 2.1e9, ("ca",)
    yield "disk_free_bytes", 7e9, ()
    yield "disk_size_bytes", 9e9, ()


def worker(*, tells_loss: bool = True) -> WorkerMetrics:
    metrics = WorkerMetrics(run="demo", worker="aws", software="0.1.0", tells_loss=tells_loss)
    metrics.reported(REPORT, loss_nats=2.5)
    metrics.connected(True)
    metrics.round_ended("contributed")
    metrics.took("upload", 0.2)
    add_health(metrics.registry, health)
    return metrics


def evaluator() -> EvaluatorMetrics:
    metrics = EvaluatorMetrics(run="demo", software="0.1.0")
    metrics.evaluated(EVALUATION, 1.2)
    tally = TrafficCounts()
    tally.message("received", "version", 4_000_000)
    tally.content("received", "version", 4_000_000)
    metrics.moved(tally)
    add_health(metrics.registry, health)
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


def test_the_processes_of_one_run_share_no_name_but_those_of_their_own_health():
    own = {name for name, *_ in health()}
    names = [
        {
            name
            for name, _ in samples(build().registry)
            if name.startswith("crosscloud") and name.removeprefix("crosscloud_") not in own
        }
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
    assert found["crosscloud_worker_float32_bytes_total", sent] == 20_000_000


def test_every_number_of_a_heartbeat_is_a_metric_and_one_only() -> None:
    """But for the offer that a worker takes to be open: no number, and good for one heartbeat."""
    fields = [f.name for f in Heartbeat.DESCRIPTOR.fields if f.name != "offer_nonce"]
    assert sorted([*(number.field for number in NUMBERS), *BY_KIND]) == sorted(fields)
    found = samples(worker().registry)
    for number in NUMBERS:
        assert found[f"crosscloud_local_{number.series}", ()] == getattr(REPORT, number.field)


def test_cumulative_counts_of_the_log_are_shown_with_the_mean_staleness():
    found = samples(coordinator().registry)
    assert found["crosscloud_committed_float32_bytes_total", ()] == 20_000_000
    assert found["crosscloud_worker_contributions_total", (("worker", "aws"),)] == 4
    assert found["crosscloud_worker_staleness_versions", (("worker", "aws"),)] == 0.5


def test_kinds_that_a_worker_invents_become_one_label():
    metrics = coordinator()
    report = Heartbeat(bytes_sent={"x1": 3, "x2": 4, "update": 1})
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
    assert workers == {None, "gcp", "evaluator"}


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
    metrics.bytes_moved("aws", "sent", "update", 5_000_001)
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


def test_every_phase_and_every_reason_has_a_series_before_its_first_round() -> None:
    fresh = samples(CoordinatorMetrics(run="demo", software="0.1.0", tier="tls").registry)
    assert len(PHASES) == 5
    for phase in PHASES:
        expected = float(phase == "collecting_offers")
        assert fresh["crosscloud_round_phase", (("phase", phase),)] == expected
    for reason in AbortReason:
        labels = (("outcome", "aborted"), ("reason", reason.value))
        assert fresh["crosscloud_rounds_total", labels] == 0
    for left in LeaveReason:
        assert fresh["crosscloud_members_left_out_total", (("reason", left.value),)] == 0
    for rule in Rule:
        assert fresh["crosscloud_refusals_total", (("rule", str(int(rule))),)] == 0


def test_a_worker_counts_its_refusals_by_rule() -> None:
    metrics = worker()
    metrics.refused(Rule.SEALED)
    found = samples(metrics.registry)
    shown = {r: found["crosscloud_local_refusals_total", (("rule", str(int(r))),)] for r in Rule}
    assert shown == {r: float(r is Rule.SEALED) for r in Rule}


def test_a_store_that_fails_keeps_the_memory_that_it_had() -> None:
    metrics = CoordinatorMetrics(run="demo", software="0.1.0", tier="tls")
    assert ("crosscloud_store_up", ()) not in samples(metrics.registry)  # not known: no alarm
    metrics.store_answered(5, 9)
    metrics.store_failed()
    found = samples(metrics.registry)
    names = ("store_up", "store_memory_used_bytes", "store_memory_max_bytes")
    assert [found[f"crosscloud_{name}", ()] for name in names] == [0, 5, 9]


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


def test_where_sums_are_masked_a_workers_own_page_tells_no_loss():
    """Its page is plain HTTP, by default on all addresses: containers are scraped from outside."""
    told = {name for name, _ in samples(worker(tells_loss=True).registry)}
    masked = {name for name, _ in samples(worker(tells_loss=False).registry)}
    assert told - masked == {"crosscloud_local_training_loss_nats"}
    assert not [n for n in masked if re.search("loss|norm|perplex|accura|energy|clip|satur", n)]


def test_no_loss_of_one_worker_stands_on_the_coordinator():
    with_worker = {
        name
        for name, labels in samples(coordinator().registry)
        if "worker" in dict(labels) and re.search("loss|norm|clip|satur|accuracy|perplexity", name)
    }
    assert not with_worker


def test_the_end_of_a_certificate_and_the_room_on_the_disk_are_read_at_each_scrape(
    tmp_path: Path,
) -> None:
    tls = tls_files(tmp_path, authority(), days=(-1, 1))
    metrics = WorkerMetrics(run="demo", worker="aws", software="0.1.0", tells_loss=False)
    add_health(metrics.registry, process_health(tls, tmp_path))
    name = "crosscloud_certificate_not_after_timestamp_seconds"
    own, ca = ((name, (("file", file),)) for file in ("certificate", "ca"))
    first = samples(metrics.registry)
    assert first[own] == (NOW + DAY).replace(microsecond=0).timestamp()
    assert first[ca] == (NOW + 9 * DAY).replace(microsecond=0).timestamp()
    assert 0 < first["crosscloud_disk_free_bytes", ()] <= first["crosscloud_disk_size_bytes", ()]

    tls_files(tmp_path, authority(), days=(-1, 5))  # renewed
    assert samples(metrics.registry)[own] == first[own] + 4 * DAY.total_seconds()
    tls.certificate.write_text("half a")
    assert own not in samples(metrics.registry)


NAMES = tuple(f"cloud-{i:02}" for i in range(64))
KINDS_AND_OTHER = (*KINDS, "other", "x" * 200, 'a"} evil 1', "\n# TYPE x gauge\n")


@pytest.mark.parametrize("num_workers", [0, 1, 64])
def test_the_number_of_series_follows_from_the_number_of_workers(num_workers: int) -> None:
    """Whatever kinds they invent, however often they come and go."""
    metrics = CoordinatorMetrics(run="demo", software="0.1.0", tier="masked")
    metrics.store_answered(1, 0)
    metrics.round_ended("committed", "", 0.1, 4)
    metrics.round_ended("aborted", "stopped", 0.1, 4)
    for phase in (*PHASES, "commit"):
        metrics.phase_took(phase, 0.1)
    constant = len(samples(metrics.registry))
    for life in range(3):
        for worker in NAMES[:num_workers]:
            kinds = dict.fromkeys((*KINDS_AND_OTHER, f"made up {life}"), 1 + life)
            hostile = Heartbeat()
            for field in BY_KIND:
                getattr(hostile, field).update(kinds)
            metrics.worker_listed(worker, "acme")
            metrics.worker_heartbeat(worker, hostile, lag=1, not_after_s=1.8e9)
            metrics.bytes_moved(worker, "sent", "update", life)
            metrics.bytes_moved(worker, "received", "download", life)
            metrics.bytes_moved(worker, "received", f"made up {life}", life)
            metrics.worker_lost(worker)
    counters = {w: WorkerCounters(contributions=1) for w in NAMES[:num_workers]}
    metrics.recorded(num_records=1, version=1, progress=0.0, counters=Counters(workers=counters))
    numbers_of_a_report, byte_series = 11, 2 * 2 * (len(KINDS) + 1)
    others = len(("lag", "live", "offered", "info", "certificate", "contributions", "staleness"))
    of_the_log, bulk = 5, 3
    per_worker = numbers_of_a_report + byte_series + others + bulk
    found = samples(metrics.registry)
    assert len(found) == constant + of_the_log + num_workers * per_worker
    assert constant + of_the_log + 1 <= 280  # a committed sum is one more

    for worker in NAMES[:num_workers]:
        metrics.worker_removed(worker)
    assert len(samples(metrics.registry)) == constant + of_the_log


def test_port_zero_serves_nothing():
    server = serve(worker().registry, "127.0.0.1", 0)
    assert server.port == 0
    server.close()


def test_a_label_holds_no_controls():
    registry = Registry()
    Reported(registry, (Family("x", "X.", ("state",)),)).set("x", 1, "a\x1b[2J\nb")
    ((series,),) = (m.samples for m in registry.collect() if m.name == "crosscloud_x")
    assert series.labels == {"state": r"a\x1b[2J\nb"}
