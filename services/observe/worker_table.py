"""A run's workers as a table's rows: `status` and `demo` show the same."""

import math
from typing import Final

from protos.v1.operator_pb2 import WorkerStatus
from services.observe.amounts import human_bytes, human_count

HEAD: Final = ("worker", "version", "staleness", "steps/s", "tokens", "sent", "state")


def cells(worker: WorkerStatus) -> tuple[str, ...]:
    """Return a worker's row, as short as each value can be."""
    return (
        worker.name,
        short(worker.version),
        _decimal(worker.staleness),
        _decimal(worker.steps_per_s),
        human_count(worker.tokens),
        human_bytes(worker.bytes_sent),
        worker.state.removeprefix("in round: ").replace("_", " "),
    )


def short(version: int) -> str:
    """Return a version's number in at most seven columns."""
    return str(version) if version < 10**7 else human_count(version)


def _decimal(value: float) -> str:
    """Return a number of at most six columns with one decimal, or a short count."""
    if not math.isfinite(value):
        return "-"
    return f"{value:.1f}" if value < 9999.95 else human_count(min(round(value), 2**63 - 1))
