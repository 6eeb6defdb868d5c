"""What the coordinator shows on its page: the run; of each worker what heartbeats and log say.

It refuses labels from outside: kinds of bytes that we do not know become "other", and a worker's
series go when its name goes from the member list. No loss and no norm of a single worker has a
metric here.
"""

from collections.abc import Set
from typing import Final

from prometheus_client import Info

from common.documents import Counters, Evaluation
from common.rounds import AbortReason, LeaveReason, Phase, Rule
from protos.v1.session_pb2 import Heartbeat
from services.observe.metrics.evaluation import EvaluationGauges
from services.observe.metrics.heartbeat import heartbeat_families, set_heartbeat
from services.observe.metrics.traffic import NETWORK, set_traffic
from services.observe.prometheus import Family, Registry, Reported
from services.wire.traffic import OTHER, Direction

_RULES: Final = frozenset(Rule)
_COHORT: Final = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 16.0, 32.0)
_STALENESS: Final = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0)

_WORKER = ("worker",)

_COORDINATOR_FAMILIES: Final = (
    *heartbeat_families("worker", "worker"),
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
    Family("committed_sum_bytes_total", "Size of committed sums, once for each live worker."),
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
        self._refusals = r.counter("refusals", "Refusals by workers, by rule.", "rule")
        for rule in Rule:
            self._refusals.labels(int(rule))
        self._left_out = r.counter(
            "members_left_out", "Members that a round went on, or ended, without.", "reason"
        )
        for left in LeaveReason:
            self._left_out.labels(left.value)
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
        self._sum_bytes = 0
        self._append_s = r.seconds("log_append_duration", "Making one record durable.")
        self._evaluation = EvaluationGauges("evaluation", r)
        self.round_phase(Phase.COLLECTING_OFFERS.value)

    def worker_heartbeat(
        self,
        worker: str,
        heartbeat: Heartbeat,
        lag: int,
        *,
        offered: bool = False,
        not_after_s: float = 0.0,
    ) -> None:
        """A live worker reported.

        Args:
            heartbeat: its newest, the counts in it over all its restarts.
            lag: in versions behind the head.
            offered: whether an offer of it waits.
            not_after_s: Unix time at which its certificate ends; 0 = not known.
        """
        self._removed.discard(worker)
        set_heartbeat(self._reported, "worker", heartbeat, worker)
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
        name = f"coordinator_{NETWORK}"
        set_traffic(self._reported, name, direction, {kind: num_bytes}, worker)

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

    def refused(self, rule: int) -> None:
        """A worker refused; of numbers that are no rule's none is shown."""
        self._refusals.labels(rule if rule in _RULES else OTHER).inc()

    def left_out(self, reason: LeaveReason) -> None:
        """A round that is over was without a member of its plan."""
        self._left_out.labels(reason.value).inc()

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

    def sum_published(self, num_bytes: int, num_live: int) -> None:
        """A committed sum is there for so many live workers, each of which downloads it."""
        self._sum_bytes += num_bytes * num_live
        self._reported.set("committed_sum_bytes_total", self._sum_bytes)

    def evaluated(self, evaluation: Evaluation) -> None:
        """The evaluator reported."""
        self._evaluation.set(evaluation)
