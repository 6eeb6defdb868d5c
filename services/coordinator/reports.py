"""What workers said of themselves in heartbeats, summed over their restarts.

A worker's counters begin at zero when its process does; here they go on. Bounded by the member
list.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from common.ids import WorkerId
from protos.v1 import session_pb2


@dataclass(slots=True)
class Report:
    """One worker's totals over all its boots, and the last heartbeat."""

    boot: str = ""
    last: session_pb2.Heartbeat = field(default_factory=session_pb2.Heartbeat)
    earlier_steps: int = 0
    earlier_tokens: int = 0
    earlier_sent: dict[str, int] = field(default_factory=dict)
    earlier_received: dict[str, int] = field(default_factory=dict)
    earlier_float32_sent: dict[str, int] = field(default_factory=dict)
    earlier_float32_received: dict[str, int] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Local steps."""
        return self.earlier_steps + self.last.steps_total

    @property
    def tokens(self) -> int:
        """Tokens trained on, committed or not."""
        return self.earlier_tokens + self.last.tokens_total

    @property
    def sent(self) -> Mapping[str, int]:
        """Bytes sent, by kind."""
        return _added(self.earlier_sent, self.last.bytes_sent)

    @property
    def received(self) -> Mapping[str, int]:
        """Bytes received, by kind."""
        return _added(self.earlier_received, self.last.bytes_received)

    @property
    def float32_sent(self) -> Mapping[str, int]:
        """What the content of bytes sent would be as float32, by kind."""
        return _added(self.earlier_float32_sent, self.last.float32_sent)

    @property
    def float32_received(self) -> Mapping[str, int]:
        """What the content of bytes received would be as float32, by kind."""
        return _added(self.earlier_float32_received, self.last.float32_received)

    def by_kind(self) -> dict[str, int]:
        """Return bytes by kind, `up_` and `down_` apart."""
        return _both_ways(self.sent, self.received)

    def float32_by_kind(self) -> dict[str, int]:
        """Return what the content of those bytes would be as float32."""
        return _both_ways(self.float32_sent, self.float32_received)


class Reports:
    """The newest report of every worker."""

    def __init__(self) -> None:
        self._by_worker: dict[WorkerId, Report] = {}

    def joined(self, worker: WorkerId, boot: str) -> None:
        """A worker joined; if its process is a new one, its counters start again."""
        report = self._by_worker.setdefault(worker, Report(boot))
        if report.boot != boot:
            report.earlier_steps, report.earlier_tokens = report.steps, report.tokens
            report.earlier_sent, report.earlier_received = dict(report.sent), dict(report.received)
            report.earlier_float32_sent = dict(report.float32_sent)
            report.earlier_float32_received = dict(report.float32_received)
            report.boot, report.last = boot, session_pb2.Heartbeat()

    def heard(self, worker: WorkerId, heartbeat: session_pb2.Heartbeat) -> None:
        """Keep the newest heartbeat."""
        self._by_worker.setdefault(worker, Report()).last = heartbeat

    def of(self, worker: WorkerId) -> Report:
        """Return what is known of `worker`, zeros if nothing."""
        return self._by_worker.get(worker, Report())

    def forget(self, worker: WorkerId) -> None:
        """Drop a worker that was taken off the member list."""
        self._by_worker.pop(worker, None)

    def bytes_up(self) -> int:
        """Bytes that workers sent, all kinds."""
        return sum(sum(r.sent.values()) for r in self._by_worker.values())

    def bytes_down(self) -> int:
        """Bytes that workers received, all kinds."""
        return sum(sum(r.received.values()) for r in self._by_worker.values())

    def bytes_by_kind(self) -> dict[str, int]:
        """Return bytes by kind, `up_` and `down_` apart."""
        return _summed(r.by_kind() for r in self._by_worker.values())

    def float32_bytes_by_kind(self) -> dict[str, int]:
        """Return what the content of those bytes would be as float32."""
        return _summed(r.float32_by_kind() for r in self._by_worker.values())


def _added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {k: one.get(k, 0) + other.get(k, 0) for k in one.keys() | other.keys()}


def _both_ways(sent: Mapping[str, int], received: Mapping[str, int]) -> dict[str, int]:
    ways = (("up", sent), ("down", received))
    return {f"{way}_{kind}": n for way, kinds in ways for kind, n in sorted(kinds.items())}


def _summed(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for kind, n in part.items():
            total[kind] = total.get(kind, 0) + n
    return dict(sorted(total.items()))
