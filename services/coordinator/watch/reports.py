"""What workers said of themselves in heartbeats, summed over their restarts and over ours.

A worker's counters begin at zero when its process does; here they go on. A file keeps them for the
next coordinator. It is written before they are shown to Prometheus, which takes a count that goes
back for one that began anew, and adds all of it again. Bounded by the member list.
"""

import contextlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self

from common.errors import BadNumbersError
from common.ids import WorkerId
from protos.v1 import session_pb2
from services.wire.traffic import DIRECTIONS, KINDS, OTHER, Direction

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a worker counts: in one process, or over several.

    Args:
        steps: local ones.
        tokens: trained on, committed or not.
        sent: bytes by kind.
        received: bytes by kind.
        float32_sent: what the content of bytes sent would be as float32, by kind.
        float32_received: the same of bytes received.
    """

    steps: int = 0
    tokens: int = 0
    sent: Mapping[str, int] = field(default_factory=dict)
    received: Mapping[str, int] = field(default_factory=dict)
    float32_sent: Mapping[str, int] = field(default_factory=dict)
    float32_received: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, heartbeat: session_pb2.Heartbeat) -> Self:
        """Return what a process had counted by then."""
        h = heartbeat
        by_kind = (h.bytes_sent, h.bytes_received, h.float32_sent, h.float32_received)
        return cls(h.steps_total, h.tokens_total, *map(dict, by_kind))

    def plus(self, other: "Counts") -> "Counts":
        """Return both together; what passes MOST stays there."""
        return Counts(
            min(self.steps + other.steps, MOST),
            min(self.tokens + other.tokens, MOST),
            _summed((self.sent, other.sent), MOST),
            _summed((self.received, other.received), MOST),
            _summed((self.float32_sent, other.float32_sent), MOST),
            _summed((self.float32_received, other.float32_received), MOST),
        )

    def by_kind(self) -> dict[str, int]:
        """Return bytes by kind, `up_` and `down_` apart."""
        return _both_ways(self.sent, self.received)

    def float32_by_kind(self) -> dict[str, int]:
        """Return what the content of those bytes would be as float32."""
        return _both_ways(self.float32_sent, self.float32_received)


@dataclass(slots=True)
class Report:
    """One member's counts over all its boots, and the last heartbeat.

    Args:
        earlier: of the boots before.
        carried: bytes on the wire by direction and kind, as this side counts them.
        not_after_s: Unix time at which the certificate ends that it joined with; 0 = not known.
    """

    boot: str = ""
    last: session_pb2.Heartbeat = field(default_factory=session_pb2.Heartbeat)
    earlier: Counts = field(default_factory=Counts)
    carried: dict[Direction, dict[str, int]] = field(default_factory=dict)
    not_after_s: float = 0.0

    @property
    def total(self) -> Counts:
        """Over all boots."""
        return self.earlier.plus(Counts.of(self.last))

    def stored(self) -> dict[str, Any]:
        """Return what `restored` takes: of each count that of earlier boots, and of the last."""
        earlier, last = asdict(self.earlier), asdict(Counts.of(self.last))
        counts = {name: [earlier[name], last[name]] for name in earlier}
        return {"boot": self.boot, **counts, "carried": self.carried}

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> Self:
        """Return the report that was stored; its worker need not have begun anew since.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        names = [f.name for f in fields(Counts)]
        earlier, last = (Counts(*c) for c in zip(*(stored[n] for n in names), strict=True))
        heartbeat = session_pb2.Heartbeat(
            steps_total=last.steps,
            tokens_total=last.tokens,
            bytes_sent=last.sent,
            bytes_received=last.received,
            float32_sent=last.float32_sent,
            float32_received=last.float32_received,
        )
        report = cls(str(stored["boot"]), heartbeat, earlier)
        report.carried = {way: dict(stored["carried"].get(way, {})) for way in DIRECTIONS}
        return report


MOST: Final = 2**53
"""Of anything that a worker counts, over all its boots: what JSON and metrics hold exactly."""

_LARGEST: Final = 2**63 - 1
"""Of a sum over all workers and kinds: what every format holds."""

_SCALARS: Final = (
    "steps_total",
    "tokens_total",
    "pending_steps",
    "resident_bytes",
    "merges_total",
    "healed_segments_total",
)
_BY_KIND: Final = ("bytes_sent", "bytes_received", "float32_sent", "float32_received")


def checked(worker: WorkerId, heartbeat: session_pb2.Heartbeat) -> session_pb2.Heartbeat:
    """Return a heartbeat with the kinds of bytes that are known, all others together.

    Raises:
        BadNumbersError: it counts what no worker can have counted; names the field.
    """
    numbers = {name: getattr(heartbeat, name) for name in _SCALARS}
    numbers |= {name: sum(getattr(heartbeat, name).values()) for name in _BY_KIND}
    for name, n in numbers.items():
        if n > MOST:
            raise BadNumbersError(f"{worker}: heartbeat: {name} is {n}, must be at most {MOST}")
    for name, value, most in (
        ("steps_per_s", heartbeat.steps_per_s, float(MOST)),
        ("idle_share", heartbeat.idle_share, 1.0),
    ):
        if not 0 <= value <= most:  # nor NaN
            raise BadNumbersError(f"{worker}: heartbeat: {name} is {value}, must be 0 to {most:g}")
    kept = session_pb2.Heartbeat()
    kept.CopyFrom(heartbeat)
    for name in _BY_KIND:
        kinds = getattr(kept, name)
        if other := {kind: n for kind, n in kinds.items() if kind not in KINDS}:
            for kind in other:
                del kinds[kind]
            kinds[OTHER] = sum(other.values())
    return kept


class Reports:
    """The newest report of every worker."""

    def __init__(self) -> None:
        self._by_worker: dict[WorkerId, Report] = {}

    def load(self, path: Path) -> None:
        """Go on from the totals of the coordinator before; without a sound file from zero."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            found = {WorkerId(name): Report.restored(r) for name, r in stored.items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
            log.warning("%s cannot be read, workers' totals begin anew: %s", path, e)
            return
        self._by_worker = found

    def save(self, path: Path) -> None:
        """Keep the totals for `load`: whole or as they were before. A full disk is no failure."""
        content = {name: report.stored() for name, report in self._by_worker.items()}
        draft = path.with_suffix(".tmp")
        with contextlib.suppress(OSError):  # no fsync: what a power cut takes begins anew
            draft.write_text(json.dumps(content) + "\n", encoding="utf-8")
            draft.replace(path)

    def names(self) -> tuple[WorkerId, ...]:
        """Return whom there are totals of."""
        return tuple(self._by_worker)

    def joined(self, worker: WorkerId, boot: str, not_after_s: float = 0.0) -> None:
        """A worker joined; if its process is a new one, its counters start again."""
        report = self._by_worker.setdefault(worker, Report(boot))
        report.not_after_s = not_after_s
        if report.boot != boot:
            report.earlier = report.total
            report.boot, report.last = boot, session_pb2.Heartbeat()

    def heard(self, worker: WorkerId, heartbeat: session_pb2.Heartbeat) -> None:
        """Keep the newest heartbeat.

        Raises:
            BadNumbersError: it counts what no worker can have counted; the one before stays.
        """
        self._by_worker.setdefault(worker, Report()).last = checked(worker, heartbeat)

    def carried(self, name: str, direction: Direction, kind: str, num_bytes: int) -> None:
        """Bytes on the wire went to or came from a member."""
        report = self._by_worker.setdefault(WorkerId(name), Report())
        kinds = report.carried.setdefault(direction, {})
        kinds[kind] = kinds.get(kind, 0) + num_bytes

    def of(self, worker: WorkerId) -> Report:
        """Return what is known of `worker`, zeros if nothing."""
        return self._by_worker.get(worker, Report())

    def forget(self, worker: WorkerId) -> None:
        """Drop a worker that was taken off the member list."""
        self._by_worker.pop(worker, None)

    def bytes_up(self) -> int:
        """Bytes that workers sent, all kinds."""
        sent = sum(sum(r.total.sent.values()) for r in self._by_worker.values())
        return min(sent, _LARGEST)

    def bytes_down(self) -> int:
        """Bytes that workers received, all kinds."""
        received = sum(sum(r.total.received.values()) for r in self._by_worker.values())
        return min(received, _LARGEST)

    def bytes_by_kind(self) -> dict[str, int]:
        """Return bytes by kind, `up_` and `down_` apart."""
        return _summed(r.total.by_kind() for r in self._by_worker.values())

    def float32_bytes_by_kind(self) -> dict[str, int]:
        """Return what the content of those bytes would be as float32."""
        return _summed(r.total.float32_by_kind() for r in self._by_worker.values())


def _both_ways(sent: Mapping[str, int], received: Mapping[str, int]) -> dict[str, int]:
    ways = (("up", sent), ("down", received))
    return {f"{way}_{kind}": n for way, kinds in ways for kind, n in sorted(kinds.items())}


def _summed(parts: Iterable[Mapping[str, int]], most: int = _LARGEST) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for kind, n in part.items():
            total[kind] = min(total.get(kind, 0) + n, most)
    return dict(sorted(total.items()))
