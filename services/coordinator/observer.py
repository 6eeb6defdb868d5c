"""Turns what the driver carries out and the children answer into metrics. The core never counts."""

from collections.abc import Callable

from common.documents import Plan, Record
from coordinator.ports import Append, Effect, Publish, Send
from coordinator.status import Status
from services.coordinator.messages import Carried, VersionComputed
from services.coordinator.reports import Reports
from services.metrics import CoordinatorMetrics, WorkerReport


class Observer:
    """See the module docstring.

    Args:
        now_s: monotonic clock.
    """

    def __init__(
        self, metrics: CoordinatorMetrics, reports: Reports, now_s: Callable[[], float]
    ) -> None:
        self._metrics = metrics
        self._reports = reports
        self._now_s = now_s
        self._closed_at_s: dict[str, float] = {}

    def effect(self, effect: Effect, seconds: float) -> None:
        """An effect was carried out, in so many seconds."""
        match effect:
            case Append():
                self._metrics.append_took(seconds)
            case Send(_, Plan() as plan):
                self._closed_at_s.setdefault(plan.round, self._now_s())
            case Publish(record):
                self.record(record)

    def record(self, record: Record) -> None:
        """A record is in the log: a new one, or at start the newest."""
        self._metrics.recorded(
            num_records=record.seq + 1,
            version=record.version,
            progress=record.progress,
            counters=record.counters,
        )
        if (commit := record.commit) is not None:
            duration_s = self._duration_s(commit.plan.round)
            self._metrics.round_ended("committed", "", duration_s, len(commit.survivors))
            for worker in commit.survivors:
                self._metrics.contributed(commit.numbers[worker].age_256 / 256)
        elif (abort := record.abort) is not None:
            duration_s = self._duration_s(abort.round)
            self._metrics.round_ended("aborted", abort.reason, duration_s, len(abort.roster))
        elif record.rollback is not None:
            self._metrics.rolled_back()
        elif record.evaluation is not None:
            self._metrics.evaluated(record.evaluation)

    def answer(self, answer: object) -> None:
        """A child process said something."""
        match answer:
            case VersionComputed(commit, _, step_length, saturation, seconds):
                self._metrics.aggregated(step_length, saturation, len(commit.survivors))
                self._metrics.commit_took(seconds)
            case Carried(received, sent):
                for worker, n in received.items():
                    self._metrics.bytes_moved(worker, "sent", "update", n)
                for name, n in sent.items():
                    self._metrics.bytes_moved(name, "received", "download", n)

    def status(self, status: Status) -> None:
        """The run looks like this now."""
        live = [w for w in status.workers if w.live]
        self._metrics.waiting(
            seconds=status.waiting_s,
            live_workers=len(live),
            offers=status.num_offers,
            paused=status.state == "paused",
        )
        self._metrics.round_phase(status.phase)
        for w in status.workers:
            if not w.live:
                self._metrics.worker_lost(w.worker)
                continue
            report = self._reports.of(w.worker)
            last = report.last
            self._metrics.worker_heartbeat(
                w.worker,
                WorkerReport(
                    version=last.version,
                    steps_total=report.steps,
                    tokens_total=report.tokens,
                    pending_steps=last.pending_steps,
                    steps_per_s=last.steps_per_s,
                    idle_share=last.idle_share,
                    speed=last.speed,
                    link_bps=last.link_bps,
                    bytes_sent=report.sent,
                    bytes_received=report.received,
                    resident_bytes=last.resident_bytes,
                    merges_total=last.merges_total,
                    healed_leaves_total=last.healed_leaves_total,
                ),
                lag=max(0, status.version - last.version),
            )

    def _duration_s(self, round_id: str) -> float:
        closed_at_s = self._closed_at_s.pop(round_id, self._now_s())
        self._closed_at_s.clear()  # one round is open at a time
        return self._now_s() - closed_at_s
