"""Every metric of every process, declared in one place: `crosscloud_<noun>_<unit>[_total]`.

Workers usually sit behind egress-only networks, so the coordinator re-exports what their heartbeats
carry as `crosscloud_worker_*{worker}`; a worker that can be scraped shows the same numbers, without
the label, as `crosscloud_local_*`, so that a sum never counts them twice.

It refuses labels from outside: kinds of bytes that we do not know become "other", and a worker's
series go when its name goes from the member list. No loss and no norm of a single worker has a
metric on the coordinator.

It is long because every metric is declared here, and nowhere else.
"""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import Info

from common.documents import Counters, Evaluation
from common.rounds import AbortReason, Phase
from services.observe.prometheus import Family, MetricsServer, Registry, Reported, serve
from services.wire.traffic import DIRECTIONS, KINDS, OTHER, Direction, TrafficCounts

__all__ = [
    "CoordinatorMetrics",
    "EvaluatorMetrics",
    "MetricsServer",
    "WorkerMetrics",
    "add_health",
    "serve",
]

WorkerPhase = Literal["close", "encode", "upload", "words", "merge"]
"""A part of a round that a worker times."""

_Traffic = Mapping[Direction, Mapping[str, int]]

_COHORT: Final = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0, 32.0)
_STALENESS: Final = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0)


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a heartbeat carries: the bounded set that may leave a worker.

    Args:
        version: that the worker stands on.
        steps_total, tokens_total: trained since its process started.
        pending_steps: local steps that no commit holds yet.
        steps_per_s: while training, smoothed.
        idle_share: of its time, blocked on anything remote, in [0, 1].
        speed: tokens per second.
        link_bps: measured upload speed in bits per second; 0 = not measured yet.
        bytes_sent, bytes_received: on the wire, by kind, since its process started.
        float32_sent, float32_received: what their content would be as float32, by kind.
        resident_bytes: memory of its processes.
        merges_total: versions that it moved onto.
        healed_segments_total: damaged segments that it fetched again.
    """

    version: int
    steps_total: int
    tokens_total: int
    pending_steps: int
    steps_per_s: float
    idle_share: float
    speed: float
    link_bps: float
    bytes_sent: Mapping[str, int]
    bytes_received: Mapping[str, int]
    float32_sent: Mapping[str, int]
    float32_received: Mapping[str, int]
    resident_bytes: int
    merges_total: int
    healed_segments_total: int


def _report_families(owner: str, *labels: str) -> tuple[Family, ...]:
    def family(name: str, text: str, *more: str) -> Family:
        return Family(f"{owner}_{name}", text, (*labels, *more))

    return (
        family("version", "Version that the worker stands on."),
        family("steps_total", "Local steps, committed or not."),
        family("tokens_total", "Tokens trained on, committed or not."),
        family("pending_steps", "Local steps that no commit holds yet."),
        family("steps_per_second", "Local steps per second while training, smoothed."),
        family("idle_ratio", "Share of the worker's time blocked on anything remote."),
        family("tokens_per_second", "Measured training speed, pacing included."),
        family("link_bits_per_second", "Measured upload speed; 0 = not measured yet."),
        *_traffic_families(owner, *labels),
        family("resident_memory_bytes", "Memory of the worker's processes."),
        family("merges_total", "Versions that the worker moved onto."),
        family("healed_segments_total", "Damaged segments that the worker fetched again."),
    )


def _traffic_families(owner: str, *labels: str) -> tuple[Family, ...]:
    by = (*labels, "direction", "kind")
    return (
        Family(f"{owner}_network_bytes_total", "Bytes on the wire, TCP's payload.", by),
        Family(f"{owner}_float32_bytes_total", "What their content would be as float32.", by),
    )


def _set_report(series: Reported, owner: str, labels: tuple[str, ...], r: WorkerReport) -> None:
    for name, value in (
        ("version", r.version),
        ("steps_total", r.steps_total),
        ("tokens_total", r.tokens_total),
        ("pending_steps", r.pending_steps),
        ("steps_per_second", r.steps_per_s),
        ("idle_ratio", r.idle_share),
        ("tokens_per_second", r.speed),
        ("link_bits_per_second", r.link_bps),
        ("resident_memory_bytes", r.resident_bytes),
        ("merges_total", r.merges_total),
        ("healed_segments_total", r.healed_segments_total),
    ):
        series.set(f"{owner}_{name}", value, *labels)
    wire: _Traffic = {"sent": r.bytes_sent, "received": r.bytes_received}
    float32: _Traffic = {"sent": r.float32_sent, "received": r.float32_received}
    _set_traffic(series, owner, labels, wire, float32)


def _set_traffic(
    series: Reported, owner: str, labels: tuple[str, ...], wire: _Traffic, float32: _Traffic
) -> None:
    for name, traffic in (("network_bytes_total", wire), ("float32_bytes_total", float32)):
        for direction, by_kind in traffic.items():
            for kind, num_bytes in _known(by_kind).items():
                series.set(f"{owner}_{name}", num_bytes, *labels, direction, kind)


def _known(by_kind: Mapping[str, int]) -> dict[str, int]:
    """Return `by_kind` with everything that is not one of KINDS under OTHER."""
    known = {k: n for k, n in by_kind.items() if k in KINDS}
    if other := sum(n for k, n in by_kind.items() if k not in KINDS):
        known[OTHER] = other
    return known


_HEALTH_FAMILIES: Final = (
    Family(
        "certificate_not_after_timestamp_seconds",
        "When this process's certificate, or its CA's, ends.",
        ("file",),
    ),
    Family("disk_free_bytes", "Room left for this process where it keeps what lasts."),
    Family("disk_size_bytes", "Size of that file system."),
)
"""Of every process under the same name, as those of `process_`."""


def add_health(
    registry: Registry, read: Callable[[], Iterable[tuple[str, float, tuple[str, ...]]]]
) -> None:
    """Export what `services/observe/process_health.py` reads at each scrape."""
    Reported(registry, _HEALTH_FAMILIES, read)


_WORKER = ("worker",)

_COORDINATOR_FAMILIES: Final = (
    *_report_families("worker", "worker"),
    Family("worker_lag_versions", "Versions from where the worker stands to the head.", _WORKER),
    Family("worker_live", "1 while the worker's lease holds, else 0.", _WORKER),
    Family("worker_offered", "1 while an offer of the worker waits for a plan.", _WORKER),
    Family("worker_info", "1 for each name on the member list.", (*_WORKER, "organisation")),
    Family(
        "worker_certificate_not_after_timestamp_seconds",
        "When the certificate ends with which the worker opened its control stream.",
        _WORKER,
    ),
    Family(
        "coordinator_network_bytes_total",
        "Bytes on the wire of each member, as the coordinator counts them.",
        (*_WORKER, "direction", "kind"),
    ),
    Family("worker_contributions_total", "Committed updates of the worker.", _WORKER),
    Family("worker_staleness_versions", "Mean staleness of its committed updates.", _WORKER),
    Family("store_up", "1 while Redis or Valkey answers, else 0; none before the first look."),
    Family("store_memory_used_bytes", "Memory of Redis or Valkey in use."),
    Family("store_memory_max_bytes", "Its maxmemory; 0 = no limit."),
    Family("log_records_total", "Records in the commit log."),
    Family("committed_tokens_total", "Tokens in committed updates."),
    Family("committed_steps_total", "Local steps in committed updates."),
    Family("committed_payload_bytes_total", "Size of committed updates as they were sent."),
    Family("committed_float32_bytes_total", "Size of committed updates, had they been float32."),
)


class CoordinatorMetrics:
    """What the driver reports, and what heartbeats and the log say."""

    def __init__(self, *, run: str, software: str, tier: str) -> None:
        self.registry = r = Registry()
        info = Info("crosscloud_run", "The run, this program's version, the tier.", registry=r)
        info.info({"run": run, "version": software, "tier": tier})
        self._reported = Reported(r, _COORDINATOR_FAMILIES)
        self._removed: set[str] = set()
        self._version = r.gauge("model_version", "Number of the head.")
        self._progress = r.gauge("run_progress_ratio", "How much of the run is done, 0 to 1.")
        self._paused = r.gauge("run_paused", "1 while an operator holds the run.")
        self._ended = r.gauge("run_ended", "1 once the run is over.")
        self._waiting_s = r.gauge(
            "run_waiting_seconds", "Since the round's phase began, or the last round ended."
        )
        self._live_workers = r.gauge("live_workers", "Workers whose lease holds.")
        self._offers = r.gauge("offers_waiting", "Offers that no plan has taken yet.")
        self._phase = r.gauge("round_phase", "1 for the current phase, else 0.", "phase")
        self._rounds = r.counter("rounds", "Rounds that ended.", "outcome", "reason")
        self._rounds.labels("committed", "")
        for reason in AbortReason:  # from the start, so that the first of each is an increase
            self._rounds.labels("aborted", reason.value)
        self._round_s = r.seconds("round_duration", "From close to outcome.", "outcome")
        self._phase_s = r.seconds("round_phase_duration", "Time in each phase.", "phase")
        self._rollbacks = r.counter("rollbacks", "Earlier versions that became the head again.")
        self._cohort = r.histogram("cohort_workers", "Members of a cohort.", _COHORT)
        self._staleness = r.histogram(
            "update_staleness_versions", "Staleness of each committed update.", _STALENESS
        )
        self._norm = r.gauge("aggregate_norm", "Length of the newest mean of two updates or more.")
        self._saturation = r.gauge(
            "aggregate_saturation_ratio", "Expected share of values clipped in the newest sum."
        )
        self._commit_s = r.seconds("commit_duration", "Summing, stepping, writing a version.")
        self._sum_s = r.seconds("sum_duration", "Summing uploads and taking the masks off.")
        self._append_s = r.seconds("log_append_duration", "Making one record durable.")
        self._evaluation = _EvaluationGauges("evaluation", r)
        self.round_phase(Phase.COLLECTING_OFFERS.value)

    def worker_heartbeat(
        self,
        worker: str,
        report: WorkerReport,
        lag: int,
        *,
        offered: bool = False,
        not_after_s: float = 0.0,
    ) -> None:
        """A live worker reported.

        Args:
            lag: in versions behind the head.
            offered: whether an offer of it waits.
            not_after_s: Unix time at which its certificate ends; 0 = not known.
        """
        self._removed.discard(worker)
        _set_report(self._reported, "worker", (worker,), report)
        self._reported.set("worker_lag_versions", lag, worker)
        self._reported.set("worker_live", 1, worker)
        self._reported.set("worker_offered", int(offered), worker)
        if not_after_s:
            name = "worker_certificate_not_after_timestamp_seconds"
            self._reported.set(name, not_after_s, worker)

    def worker_lost(self, worker: str) -> None:
        """The worker's lease ended, or it left: it has no speed now; its counts stay."""
        for name in ("live", "offered", "steps_per_second", "tokens_per_second"):
            self._reported.set(f"worker_{name}", 0, worker)

    def listed(self, names: Set[str]) -> None:
        """These names, and no others, are on the member list."""
        self._removed -= names

    def worker_listed(self, worker: str, organisation: str) -> None:
        """The name is on the member list, as a worker."""
        self._reported.set("worker_info", 1, worker, organisation)

    def worker_removed(self, worker: str) -> None:
        """The name is off the member list: its series go."""
        self._removed.add(worker)
        self._reported.forget(worker)

    def bytes_moved(self, worker: str, direction: Direction, kind: str, num_bytes: int) -> None:
        """So many bytes went to or came from a member in all; `direction` as the member sees it."""
        if worker in self._removed:
            return
        for known, n in _known({kind: num_bytes}).items():
            self._reported.set("coordinator_network_bytes_total", n, worker, direction, known)

    def waiting(
        self,
        *,
        seconds: float,
        live_workers: int,
        offers: int,
        paused: bool,
        ended: bool = False,
    ) -> None:
        """For how long nothing has moved, and what the run has to go on with."""
        self._waiting_s.set(seconds)
        self._live_workers.set(live_workers)
        self._offers.set(offers)
        self._paused.set(int(paused))
        self._ended.set(int(ended))

    def store_answered(self, used_bytes: int, max_bytes: int) -> None:
        """Redis or Valkey said how full it is; `max_bytes` 0 = no limit."""
        self._reported.set("store_up", 1)
        self._reported.set("store_memory_used_bytes", used_bytes)
        self._reported.set("store_memory_max_bytes", max_bytes)

    def store_failed(self) -> None:
        """It did not answer: its memory stays as it was last known."""
        self._reported.set("store_up", 0)

    def round_phase(self, phase: str) -> None:
        """The run is in `phase`, a `Phase`'s value."""
        for p in Phase:
            if not p.is_over:
                self._phase.labels(p.value).set(int(p.value == phase))

    def phase_took(self, phase: str, seconds: float) -> None:
        """A round left a `Phase`, by its value, or "commit", the sum and its way to the disk."""
        self._phase_s.labels(phase).observe(seconds)

    def round_ended(
        self, outcome: str, reason: str, duration_s: float | None, cohort_size: int
    ) -> None:
        """A round is over: "committed" for "", or "aborted" for an AbortReason's value.

        Args:
            duration_s: from its close; None where it was an earlier coordinator's.
        """
        self._rounds.labels(outcome, reason).inc()
        if duration_s is not None:
            self._round_s.labels(outcome).observe(duration_s)
        self._cohort.observe(cohort_size)

    def rolled_back(self) -> None:
        """An earlier version is the head again."""
        self._rollbacks.inc()

    def contributed(self, staleness: float) -> None:
        """A committed round held one update of this staleness, in versions."""
        self._staleness.observe(staleness)

    def aggregated(self, norm: float, saturation: float | None, num_survivors: int) -> None:
        """A mean was decoded. The mean of one is that worker's own update, so it is not shown.

        Args:
            saturation: expected share of values clipped; None where the codec clips nothing.
        """
        if num_survivors > 1:
            self._norm.set(norm)
            self._saturation.set(saturation or 0.0)

    def commit_took(self, seconds: float, sum_s: float) -> None:
        """The commit process made a version's files durable; `sum_s` of it went into the sum."""
        self._commit_s.observe(seconds)
        self._sum_s.observe(sum_s)

    def append_took(self, seconds: float) -> None:
        """The log made a record durable."""
        self._append_s.observe(seconds)

    def recorded(
        self, *, num_records: int, version: int, progress: float, counters: Counters
    ) -> None:
        """The log stands here; its counts are cumulative over the run's whole life."""
        self._version.set(version)
        self._progress.set(progress)
        for name, value in (
            ("log_records_total", num_records),
            ("committed_tokens_total", counters.tokens),
            ("committed_steps_total", counters.steps),
            ("committed_payload_bytes_total", counters.payload_bytes),
            ("committed_float32_bytes_total", counters.float32_bytes),
        ):
            self._reported.set(name, value)
        for worker, c in counters.workers.items():
            if worker in self._removed:
                continue
            mean = c.age_256 / 256 / c.contributions if c.contributions else 0.0
            self._reported.set("worker_contributions_total", c.contributions, worker)
            self._reported.set("worker_staleness_versions", mean, worker)

    def evaluated(self, evaluation: Evaluation) -> None:
        """The evaluator reported."""
        self._evaluation.set(evaluation)


class WorkerMetrics:
    """What the link process reports. The training loss stands here and nowhere else.

    Args:
        tells_loss: whether it does: only in the tls tier, whose coordinator sees it anyhow. The
            page is read by whoever reaches its port, and masks hide each worker's loss.
    """

    def __init__(self, *, run: str, worker: str, software: str, tells_loss: bool) -> None:
        self.registry = r = Registry()
        info = Info("crosscloud_local", "The worker, its run, this program.", registry=r)
        info.info({"run": run, "worker": worker, "version": software})
        self._reported = Reported(r, _report_families("local"))
        self._loss = None
        if tells_loss:
            self._loss = r.gauge(
                "local_training_loss_nats", "Mean loss of the last steps; in tier tls only."
            )
        self._connected = r.gauge("local_connected", "1 while the control stream is open.")
        self._connections = r.counter("local_connections", "Control streams opened.")
        self._rounds = r.counter("local_rounds", "What became of the work in each round.", "fate")
        self._took = r.seconds("local_phase_duration", "Parts of a round, on this worker.", "phase")

    def reported(self, report: WorkerReport, loss_nats: float) -> None:
        """The trainer made progress."""
        _set_report(self._reported, "local", (), report)
        if self._loss is not None:
            self._loss.set(loss_nats)

    def connected(self, is_open: bool) -> None:
        """The control stream opened or broke."""
        self._connected.set(int(is_open))
        self._connections.inc(int(is_open))

    def round_ended(self, fate: str) -> None:
        """Frozen work became "contributed", "spent" or "free", or the plan was "refused"."""
        self._rounds.labels(fate).inc()

    def took(self, phase: WorkerPhase, seconds: float) -> None:
        """One part of a round took this long."""
        self._took.labels(phase).observe(seconds)


class EvaluatorMetrics:
    """What the evaluator reports."""

    def __init__(self, *, run: str, software: str) -> None:
        self.registry = r = Registry()
        info = Info("crosscloud_evaluator", "The run and this program.", registry=r)
        info.info({"run": run, "version": software})
        self._evaluation = _EvaluationGauges("evaluator", r)
        self._measured = r.counter("evaluator_measurements", "Versions measured.")
        self._took = r.seconds("evaluator_measurement_duration", "Measuring one version.")
        self._reported = Reported(r, _traffic_families("evaluator"))

    def evaluated(self, evaluation: Evaluation, seconds: float) -> None:
        """A version was measured."""
        self._evaluation.set(evaluation)
        self._measured.inc()
        self._took.observe(seconds)

    def moved(self, tally: TrafficCounts) -> None:
        """So much went to the coordinator and came from it since the process started."""
        wire, float32 = ({d: read(d) for d in DIRECTIONS} for read in (tally.wire, tally.float32))
        _set_traffic(self._reported, "evaluator", (), wire, float32)


class _EvaluationGauges:
    def __init__(self, owner: str, r: Registry) -> None:
        self._version = r.gauge(f"{owner}_version", "Newest version that was measured.")
        self._loss = r.gauge(f"{owner}_loss_nats", "Its loss per token on the validation shard.")
        self._perplexity = r.gauge(f"{owner}_perplexity", "Its perplexity.")
        self._accuracy = r.gauge(f"{owner}_accuracy_ratio", "Share of next tokens it gets right.")

    def set(self, evaluation: Evaluation) -> None:
        self._version.set(evaluation.version)
        self._loss.set(evaluation.loss)
        self._perplexity.set(evaluation.perplexity)
        self._accuracy.set(evaluation.accuracy)
