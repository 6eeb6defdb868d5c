"""What workers said of themselves in heartbeats, summed over their restarts and over ours.

A worker's counters begin at zero when its process does; here they go on. A file keeps them for the
next coordinator. It is written before they are shown to Prometheus, which takes a count that goes
back for one that began anew, and adds all of it again. Bounded by the member list.
"""

import contextlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from common.errors import BadNumbersError
from common.ids import WorkerId
from protos.v1.session_pb2 import Heartbeat
from services.observe.metrics.heartbeat import BY_KIND, COUNTS, NUMBERS
from services.wire.traffic import DIRECTIONS, KINDS, OTHER, Direction

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Report:
    """One member's counts over all its boots, and the last heartbeat.

    Args:
        earlier: counts of the boots before.
        carried: bytes on the wire by direction and kind, as this side counts them.
        not_after_s: Unix time at which the certificate ends that it joined with; 0 = not known.
    """

    boot: str = ""
    last: Heartbeat = field(default_factory=Heartbeat)
    earlier: Heartbeat = field(default_factory=Heartbeat)
    carried: dict[Direction, dict[str, int]] = field(default_factory=dict)
    not_after_s: float = 0.0

    @property
    def total(self) -> Heartbeat:
        """The last heartbeat, what it counts over all boots; what passes MOST stays there."""
        total = Heartbeat()
        total.CopyFrom(self.last)
        for name in COUNTS:
            setattr(total, name, min(getattr(total, name) + getattr(self.earlier, name), MOST))
        for name in BY_KIND:
            both = _summed((getattr(self.earlier, name), getattr(self.last, name)), MOST)
            getattr(total, name).update(both)
        return total

    def stored(self) -> dict[str, Any]:
        """Return what `restored` takes: counts of earlier boots, and of the last."""
        earlier, last = _counts(self.earlier), _counts(self.last)
        return {"boot": self.boot, "earlier": earlier, "last": last, "carried": self.carried}

    @classmethod
    def restored(cls, stored: Mapping[str, Any]) -> Self:
        """Return the report that was stored; its worker need not have begun anew since.

        Names that this version does not count are passed over.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        last, earlier = (_restored(stored[boot]) for boot in ("last", "earlier"))
        carried = {way: dict(stored["carried"].get(way, {})) for way in DIRECTIONS}
        return cls(str(stored["boot"]), last, earlier, carried)


def _counts(heartbeat: Heartbeat) -> dict[str, Any]:
    numbers = {name: getattr(heartbeat, name) for name in COUNTS}
    return numbers | {name: dict(getattr(heartbeat, name)) for name in BY_KIND}


def _restored(counts: Mapping[str, Any]) -> Heartbeat:
    known = (*COUNTS, *BY_KIND)
    return Heartbeat(**{name: n for name, n in counts.items() if name in known})


MOST: Final = 2**53
"""Of anything that a worker counts, over all its boots: what JSON and metrics hold exactly."""

_LARGEST: Final = 2**63 - 1
"""Of a sum over all workers and kinds: what every format holds."""


def checked(worker: WorkerId, heartbeat: Heartbeat) -> Heartbeat:
    """Return a heartbeat with the kinds of bytes that are known, all others together.

    Raises:
        BadNumbersError: it counts what no worker can have counted; names the field.
    """
    numbers = [(number.field, getattr(heartbeat, number.field), number.most) for number in NUMBERS]
    numbers += [(name, sum(getattr(heartbeat, name).values()), MOST) for name in BY_KIND]
    for name, n, most in numbers:
        if not 0 <= n <= min(most, MOST):  # nor NaN
            limit = f"{min(most, MOST):.0f}"
            raise BadNumbersError(f"{worker}: heartbeat: {name} is {n}, must be 0 to {limit}")
    kept = Heartbeat()
    kept.CopyFrom(heartbeat)
    for name in BY_KIND:
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
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
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
            report.earlier, report.last, report.boot = report.total, Heartbeat(), boot

    def heard(self, worker: WorkerId, heartbeat: Heartbeat) -> None:
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
        sent = sum(sum(r.total.bytes_sent.values()) for r in self._by_worker.values())
        return min(sent, _LARGEST)

    def bytes_down(self) -> int:
        """Bytes that workers received, all kinds."""
        received = sum(sum(r.total.bytes_received.values()) for r in self._by_worker.values())
        return min(received, _LARGEST)

    def bytes_by_kind(self) -> dict[str, int]:
        """Return bytes by kind, `up_` and `down_` apart."""
        return _summed(bytes_by_kind(r.total) for r in self._by_worker.values())

    def float32_bytes_by_kind(self) -> dict[str, int]:
        """Return what the content of those bytes would be as float32."""
        totals = (r.total for r in self._by_worker.values())
        return _summed(_both_ways(t.float32_sent, t.float32_received) for t in totals)


def bytes_by_kind(total: Heartbeat) -> dict[str, int]:
    """Return bytes on the wire by kind, `up_` and `down_` apart."""
    return _both_ways(total.bytes_sent, total.bytes_received)


def _both_ways(sent: Mapping[str, int], received: Mapping[str, int]) -> dict[str, int]:
    ways = (("up", sent), ("down", received))
    return {f"{way}_{kind}": n for way, kinds in ways for kind, n in sorted(kinds.items())}


def _summed(parts: Iterable[Mapping[str, int]], most: int = _LARGEST) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for kind, n in part.items():
            total[kind] = min(total.get(kind, 0) + n, most)
    return dict(sorted(total.items()))
