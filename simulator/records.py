"""A history's log as files, its records in a few words, and the layout of its model."""

from pathlib import Path
from typing import Final

from common import canonical
from common.documents import Record
from common.schema import BLOCK, ModelSchema, TensorSpec

NUM_VALUES: Final = 8
"""In the last block of the parameters and in that of the buffers; others are full."""


def schema_of(num: int) -> ModelSchema:
    """Return the layout of a model of `num` blocks; of more than one, the last is a buffer's."""
    if num == 1:
        return ModelSchema((TensorSpec("counts", (NUM_VALUES,)),))
    counts = TensorSpec("counts", ((num - 2) * BLOCK + NUM_VALUES,))
    return ModelSchema((counts,), (TensorSpec("averaged", (NUM_VALUES,)),))


def records_of(log: Path) -> list[Record]:
    """Return what stands in a log's folder."""
    return [canonical.decode(p.read_bytes(), Record) for p in sorted(log.glob("*.json"))]


def summary(record: Record) -> str:
    """Return a record in a few words."""
    if record.commit is not None:
        what = f"version {record.version} by {', '.join(record.commit.survivors)}"
    elif record.abort is not None:
        what = f"abort: {record.abort.reason}: {record.abort.detail}"
    elif record.rollback is not None:
        what = f"version {record.rollback.version} returns as version {record.version}"
    else:
        what = "takeover" if record.takeover is not None else "control"
    return f"record {record.seq}: {what}"
