"""Turns what the driver carries out and the children answer into metrics. The core never counts."""

from collections.abc import Callable, Iterable

from common.documents import Plan, Record
from coordinator.ports import Append, Effect, LeftOut, Note, Publish, Send
from coordinator.status import Status
from services.coordinator.messages import Carried, Summed
from services.coordinator.watch.reports import Reports
from services.coordinator.watch.round_times import RoundTimes
from services.observe.metrics.coordinator import CoordinatorMetrics
from services.trust.identity import Identity, Role


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
        self.rounds = RoundTimes(now_s)
        self._shown: set[str] = set()
        self._listed: set[str] = set()

    def listed(self, members: Iterable[Identity]) -> None:
        """These are on the member list."""
        identities = tuple(members)
        self._metrics.listed({m.name for m in identities})
        workers = [m for m in identities if m.role is Role.WORKER]
        self._listed = {m.name for m in workers}
        for m in workers:
            self._metrics.worker_listed(m.name, m.organisation)

    def recalled(self, record: Record) -> None:
        """A record of the log was read at start: what it counts goes on where it was."""
        self._count(record, None)
        if record.evaluation is not None:
            self._metrics.evaluated(record.evaluation)

    def effect(self, effect: Effect, seconds: float) -> None:
        """An effect was carried out, in so many seconds."""
        self.rounds.effect(effect)
        match effect:
            case Append():
                self._metrics.append_took(seconds)
            case Send(_, Plan() as plan):
                self._closed_at_s.setdefault(plan.round, self._now_s())
            case Publish(record):
                self.record(record)
            case LeftOut(reason=reason):
                self._metrics.left_out(reason)
            case Note(rule=rule) if rule:
                self._metrics.refused(rule)

    def record(self, record: Record) -> None:
        """A new record is in the log."""
        for worker in record.counters.workers.keys() - self._listed:  # of another time
            self._metrics.worker_removed(worker)
        self._metrics.recorded(
            num_records=record.seq + 1,
            version=record.version,
            progress=record.progress,
            counters=record.counters,
        )
        if (commit := record.commit) is not None:
            self._count(record, self._duration_s(commit.plan.round))
        elif (abort := record.abort) is not None:
            self._count(record, self._duration_s(abort.round))
        else:
            self._count(record, None)
        if record.commit is not None or record.abort is not None:
            for phase, phase_s in self.rounds.newest_phases_s.items():
                self._metrics.phase_took(phase, phase_s)
        if record.evaluation is not None:
            self._metrics.evaluated(record.evaluation)

    def _count(self, record: Record, duration_s: float | None) -> None:
        if (commit := record.commit) is not None:
            self._metrics.round_ended("committed", "", duration_s, len(commit.survivors))
            self._metrics.sum_published(commit.aggregate_bytes, commit.plan.num_live)
            for worker in commit.survivors:
                self._metrics.contributed(commit.numbers[worker].age_256 / 256)
        elif (abort := record.abort) is not None:
            self._metrics.round_ended("aborted", abort.reason, duration_s, len(abort.roster))
        elif record.rollback is not None:
            self._metrics.rolled_back()

    def answer(self, answer: object) -> None:
        """A child process said something."""
        match answer:
            case Summed(num_survivors, step_length, seconds, sum_s, saturation):
                self._metrics.aggregated(step_length, saturation, num_survivors)
                self._metrics.commit_took(seconds, sum_s)
            case Carried(received, sent):
                for name, n in received.items():
                    self._reports.carried(name, "sent", "update", n)
                for name, n in sent.items():
                    self._reports.carried(name, "received", "download", n)

    def status(self, status: Status) -> None:
        """The run looks like this now."""
        live = [w for w in status.workers if w.live]
        self._metrics.waiting(
            seconds=status.waiting_s,
            live_workers=len(live),
            offers=status.num_offers,
            paused=status.state == "paused",
            ended=status.state == "stopped",
        )
        self._metrics.round_phase(status.phase)
        for name in self._reports.names():
            for direction, kinds in self._reports.of(name).carried.items():
                for kind, n in kinds.items():
                    self._metrics.bytes_moved(name, direction, kind, n)
        joined = {str(w.worker) for w in status.workers}
        for worker in self._shown - joined:  # it left
            self._metrics.worker_lost(worker)
        self._shown = joined
        for w in status.workers:
            if not w.live:
                self._metrics.worker_lost(w.worker)
                continue
            report = self._reports.of(w.worker)
            self._metrics.worker_heartbeat(
                w.worker,
                report.total,
                lag=max(0, status.version - report.last.version),
                offered=w.state == "offered",
                not_after_s=report.not_after_s,
            )

    def _duration_s(self, round_id: str) -> float:
        closed_at_s = self._closed_at_s.pop(round_id, self._now_s())
        self._closed_at_s.clear()  # one round is open at a time
        return self._now_s() - closed_at_s
