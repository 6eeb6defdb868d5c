"""What a worker says of itself in each heartbeat, as metrics: one table, all else follows.

Workers usually sit behind egress-only networks, so the coordinator re-exports what their heartbeats
carry as `crosscloud_worker_*{worker}`; a worker that can be scraped shows the same numbers, without
the label, as `crosscloud_local_*`, so that a sum never counts them twice.

A metric more is a field of `Heartbeat` (protos/v1/session.proto), a line here, and the place where
the worker counts it. What ends in `_total` counts since the worker's process started; the
coordinator adds it up over restarts (`services/coordinator/watch/reports.py`). No loss and no norm
has a line.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from protos.v1.session_pb2 import Heartbeat
from services.observe.metrics.traffic import FLOAT32, NETWORK, set_traffic, traffic_families
from services.observe.prometheus import Family, Reported
from services.wire.traffic import Direction


@dataclass(frozen=True, slots=True)
class HeartbeatNumber:
    """One number of a heartbeat.

    Args:
        field: of `Heartbeat`.
        series: its name, after `crosscloud_worker_` or `crosscloud_local_`.
        text: for people.
        most: what no worker passes.
    """

    field: str
    series: str
    text: str
    most: float = math.inf

    @property
    def is_count(self) -> bool:
        """Whether it only grows while the worker's process lives."""
        return self.series.endswith("_total")


NUMBERS: Final = (
    HeartbeatNumber("version", "version", "Version that the worker stands on."),
    HeartbeatNumber("steps_total", "steps_total", "Local steps, committed or not."),
    HeartbeatNumber("tokens_total", "tokens_total", "Tokens trained on, committed or not."),
    HeartbeatNumber("pending_steps", "pending_steps", "Local steps that no commit holds yet."),
    HeartbeatNumber(
        "steps_per_s", "steps_per_second", "Local steps per second while training, smoothed."
    ),
    HeartbeatNumber(
        "idle_share", "idle_ratio", "Share of the worker's time blocked on anything remote.", 1.0
    ),
    HeartbeatNumber("speed", "tokens_per_second", "Measured training speed, pacing included."),
    HeartbeatNumber(
        "link_bps", "link_bits_per_second", "Measured upload speed; 0 = not measured yet."
    ),
    HeartbeatNumber("resident_bytes", "resident_memory_bytes", "Memory of the worker's processes."),
    HeartbeatNumber("merges_total", "merges_total", "Versions that the worker moved onto."),
    HeartbeatNumber(
        "healed_segments_total",
        "healed_segments_total",
        "Damaged segments that the worker fetched again.",
    ),
)
"""Numbers, one a line. What they are is said once, here; docs/metrics.md repeats it."""

BY_KIND: Final[Mapping[str, tuple[str, Direction]]] = {
    "bytes_sent": (NETWORK, "sent"),
    "bytes_received": (NETWORK, "received"),
    "float32_sent": (FLOAT32, "sent"),
    "float32_received": (FLOAT32, "received"),
}
"""Counts of bytes by kind: field of `Heartbeat`, series and direction."""

COUNTS: Final = tuple(number.field for number in NUMBERS if number.is_count)
"""The numbers that only grow while the worker's process lives; those of BY_KIND do, too."""


def heartbeat_families(owner: str, *labels: str) -> tuple[Family, ...]:
    """Return the families of a heartbeat's numbers."""
    numbers = (Family(f"{owner}_{number.series}", number.text, labels) for number in NUMBERS)
    return (*numbers, *traffic_families(owner, *labels))


def set_heartbeat(series: Reported, owner: str, heartbeat: Heartbeat, *labels: str) -> None:
    """Set every series of one worker."""
    for number in NUMBERS:
        series.set(f"{owner}_{number.series}", getattr(heartbeat, number.field), *labels)
    for field, (name, direction) in BY_KIND.items():
        set_traffic(series, f"{owner}_{name}", direction, getattr(heartbeat, field), *labels)
