"""Disk and memory that each role needs, in bytes. Sizes come from layouts and from what is kept.

What is on a disk depends on when one looks: `..._peak` is the most that lies there at one time,
while a version is written beside those that are kept.
"""

from dataclasses import dataclass
from typing import Final

from common.documents import Genesis
from common.outer import state_lengths
from common.progress import float32_bytes
from common.schema import segments
from common.shards import PayloadLayout
from common.terms import round_bits, round_fragment, round_layout

_DIGEST_BYTES: Final = 67  # 64 hexadecimal digits, quoted, and a comma
_SUM_BYTES: Final = 16  # of a shard, beside an upload (`services/coordinator/kept/upload.py`)
_VALUE: Final = 4
ADAMW_BYTES: Final = 8.0
"""Of AdamW's two moments, per parameter."""

# Measured: benchmarks/results/worker_memory.json, and the processes of a coordinator without load.
_LINK_BYTES: Final = 294 * 2**20
_TRAINER_BYTES: Final = 414 * 2**20
_EVALUATOR_BYTES: Final = 450 * 2**20
_ALLOCATOR: Final = 5.0
"""Bytes per parameter that the allocator keeps of gradients that came and went; at most."""
COORDINATOR_BYTES: Final = 500 * 2**20
"""Control, bulk and commit process, with three uploads and a commit under way."""
REDIS_BYTES: Final = 32 * 2**20
"""A server with a run's live state: documents of its members and of one round, under a megabyte."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a coordinator keeps: whole versions, and aggregates beside them."""

    versions: int
    aggregates: int


def version_files(genesis: Genesis) -> list[int]:
    """Return the size of each file of a version, as if none were shared; its document last."""
    schema = genesis.schema
    state = state_lengths(genesis.algorithm.outer, schema)
    lengths = (schema.length, *state.values(), schema.num_blocks)
    files = [_VALUE * (stop - start) for num in lengths for start, stop in segments(num)]
    return [*files, _DIGEST_BYTES * len(files)]


def version_bytes(genesis: Genesis) -> int:
    """Return the size of a version: all its files, as if none were shared."""
    return sum(version_files(genesis))


def usual_layout(genesis: Genesis) -> PayloadLayout:
    """Return the layout of a round's updates once scales are known, in its largest fragment."""
    codec = genesis.algorithm.codec
    layouts = (
        round_layout(genesis, codec.bits, fragment)
        for fragment in range(codec.one_in if codec.kind == "cyclic" else 1)
    )
    return max(layouts, key=lambda layout: layout.sent_bytes)


def first_layout(genesis: Genesis) -> PayloadLayout:
    """Return the layout of the first round's updates, which is wider."""
    codec = genesis.algorithm.codec
    return round_layout(genesis, round_bits(codec, 0), round_fragment(codec, 0))


def most_kept(snapshot_every: int) -> Kept:
    """Return the most that `Retention` keeps at any time: just before the next snapshot."""
    return Kept(versions=min(1 + snapshot_every, 4), aggregates=2 * snapshot_every - 1)


def coordinator_data_bytes(genesis: Genesis, kept: Kept, num_survivors: int) -> int:
    """Return the size of `data_dir/data` with so many versions and aggregates."""
    aggregate = usual_layout(genesis).aggregate_bytes(num_survivors)
    return kept.versions * version_bytes(genesis) + kept.aggregates * aggregate


def coordinator_disk_peak(genesis: Genesis, snapshot_every: int, num_members: int) -> int:
    """Return the most of `data_dir`: one more version and aggregate, and a cohort's uploads.

    Aggregates lie there compressed as well, at worst hardly smaller.
    """
    most = most_kept(snapshot_every)
    writing = Kept(most.versions + 1, most.aggregates + 1)
    data = coordinator_data_bytes(genesis, writing, num_members)
    layout = max(first_layout(genesis), usual_layout(genesis), key=lambda at: at.sent_bytes)
    data += writing.aggregates * usual_layout(genesis).aggregate_bytes(num_members)
    return data + num_members * (layout.sent_bytes + _SUM_BYTES * layout.num_shards)


def save_bytes(genesis: Genesis, optimizer_bytes: float) -> float:
    """Return the size of a worker's save: theta, inner optimiser, residual."""
    return 2 * _VALUE * genesis.schema.length + optimizer_bytes * genesis.schema.parameter_values


def worker_disk_peak(genesis: Genesis, optimizer_bytes: float) -> float:
    """Return the most of `state_dir`: two versions, two saves, the frozen work, an aggregate."""
    layout = usual_layout(genesis)
    whole = genesis.algorithm.codec.kind in ("dense", "float32", "topk")
    anchor = 0 if whole else _VALUE * genesis.schema.length
    save = save_bytes(genesis, optimizer_bytes)
    frozen = save + layout.sent_bytes + anchor
    aggregate = layout.aggregate_bytes(genesis.algorithm.max_cohort)
    return 2 * version_bytes(genesis) + 2 * save + frozen + aggregate


def evaluator_disk_peak(genesis: Genesis) -> int:
    """Return the most of an evaluator's `state_dir`: two versions and an aggregate."""
    num = genesis.algorithm.max_cohort
    layouts = (first_layout(genesis), usual_layout(genesis))
    return 2 * version_bytes(genesis) + max(at.aggregate_bytes(num) for at in layouts)


def worker_memory_bytes(genesis: Genesis, optimizer_bytes: float) -> float:
    """Return memory of both processes on a CPU, activations of a batch not counted.

    Values, gradients, the inner optimiser's state; theta, base, residual and what is merged pass
    through in segments of 4 MiB.
    """
    per_parameter = 2 * _VALUE + optimizer_bytes + _ALLOCATOR
    model = float32_bytes(genesis.schema) / _VALUE
    return per_parameter * model + _LINK_BYTES + _TRAINER_BYTES


def evaluator_memory_bytes(genesis: Genesis) -> float:
    """Return memory of an evaluator on a CPU, activations of a batch not counted.

    Values alone: versions pass through in segments of 4 MiB, and there is nothing to train.
    """
    return float32_bytes(genesis.schema) + _EVALUATOR_BYTES
