"""One member's update: from the difference of its parameters to shards, tile by tile.

Two passes over the same values. `measure` finds the lengths (and anything that is not finite);
`shards` encodes, so that an upload can start with the first shard. Neither holds more than a few
tiles, two shards, and 20 bytes per block of 4096 values: 3 MiB, and 5 more per billion parameters
(`python -m benchmarks.codec`). A tile is encoded straight into its place in the shard: what else a
shard needs can follow while the tile is in the cache.

What quantisation leaves out goes to `keep_residual`; it becomes the residual only on a commit that
names this worker a survivor, or when the work is spent.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from common.arrays import F32, ReadValues, WriteValues
from common.chain import TILE, tiles
from common.checks import MAX_LOSS_2_20
from common.codec import TileEncoder
from common.codec.noise import Noise
from common.documents import Lanes
from common.errors import BrokenUpdateError
from common.ids import WorkerId
from common.scales import energy
from common.schema import BLOCK
from common.shards import SHARD_BYTES, Piece, cut, pack_lanes
from common.terms import Terms

_LONGEST: Final = 2.0**60


@dataclass(frozen=True, slots=True)
class Work:
    """Where a member's values come from: readers of flat vectors, [schema.length].

    Args:
        base: theta of the plan's version.
        theta: own parameters at close.
        residual: e, in rotated coordinates and wire units; None = zero.
    """

    base: ReadValues
    theta: ReadValues
    residual: ReadValues | None = None


@dataclass(frozen=True, slots=True)
class Lengths:
    """Euclidean lengths of the difference and of the residual."""

    difference: float
    residual: float


def measure(terms: Terms, work: Work) -> Lengths:
    """Return the lengths of the work.

    Raises:
        BrokenUpdateError: NaN, infinite or absurdly long; discard the work, do not upload.
    """
    difference, residual, buffer = [], [], np.empty(TILE, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for start, stop in tiles(0, terms.schema.length):
            d = buffer[: stop - start]
            np.subtract(work.base(start, stop), work.theta(start, stop), out=d)
            difference.append(_square(d))
            if work.residual is not None:
                residual.append(_square(work.residual(start, stop)))
    lengths = Lengths(math.sqrt(sum(difference)), math.sqrt(sum(residual)))
    for what, length in (("difference", lengths.difference), ("residual", lengths.residual)):
        if not length <= _LONGEST:  # NaN too
            raise BrokenUpdateError(
                f"the {what}'s length is {length}: training diverged, or a file is damaged; "
                "the work is discarded"
            )
    return lengths


def shards(
    terms: Terms,
    worker: WorkerId,
    work: Work,
    lengths: Lengths,
    keep_residual: WriteValues,
    noise_key: bytes,
    loss_2_20: int,
    own_clip: float = math.inf,
) -> Iterator[Piece]:
    """Yield the payload's shards in order, data first, then lanes.

    Args:
        terms: of the round.
        worker: this member's name.
        work: as it was measured; it must not change until the last shard.
        lengths: from `measure`.
        keep_residual: receives e', tile by tile, valid during the call; never called by a codec
            that keeps none.
        noise_key: 16 fresh random bytes; the same key gives the same shards.
        loss_2_20: mean training loss in nats times 2**20.
        own_clip: C_max, this worker's own bound on C.
    """
    layout = terms.layout
    encoder = _encoder(terms, worker, lengths, noise_key, own_clip)
    kept = work.residual if terms.codec.keeps_residual else None
    buffer = np.empty(TILE, np.float32)
    squares: list[F32] = []
    for shard_offset in range(0, layout.data_bytes, SHARD_BYTES):
        shard = bytearray(min(SHARD_BYTES, layout.data_bytes - shard_offset))
        view, first = memoryview(shard), 8 * shard_offset // layout.bits
        for start, stop in tiles(first, first + 8 * len(shard) // layout.bits):
            difference = np.subtract(
                work.base(start, stop), work.theta(start, stop), out=buffer[: stop - start]
            )
            e = None if kept is None else _blocks(kept(start, stop))
            at, end = ((x - first) * layout.bits // 8 for x in (start, stop))
            tile = encoder.encode(start // BLOCK, _blocks(difference), e, view[at:end])
            if tile.residual is not None:
                keep_residual(start, tile.residual.reshape(-1))
            squares.append(tile.square)
        yield shard
    lanes = Lanes(
        v=terms.weights.v[worker],
        loss_2_20=min(max(loss_2_20, 0), MAX_LOSS_2_20),
        clipped=int(0 < terms.clip * terms.numbers[worker].lr_sum < lengths.difference),
    )
    z = energy(np.concatenate(squares), terms.scales.energy_cap)
    yield from cut(pack_lanes(lanes, z))


def _encoder(
    terms: Terms, worker: WorkerId, lengths: Lengths, noise_key: bytes, own_clip: float
) -> TileEncoder:
    longest = min(terms.clip or math.inf, own_clip) * terms.numbers[worker].lr_sum
    return terms.codec.encoder(
        factor=terms.weights.wire(worker) * _shrink(longest, lengths.difference),
        decay=terms.algorithm.codec.residual_decay * _shrink(longest, lengths.residual),
        noise=Noise(noise_key),
    )


def _shrink(longest: float, length: float) -> float:
    return longest / length if length > longest else 1.0


def _square(x: F32) -> float:
    return float(np.vecdot(x, x))


def _blocks(x: F32) -> F32:
    return x.reshape(-1, BLOCK)
