"""One member's update: from the difference of its parameters to shards, tile by tile.

Two passes over the same values. `measure` finds the lengths (and anything that is not finite);
`shards` encodes, so that an upload can start with the first shard. Neither holds more than a few
tiles, two shards, and 20 bytes per block of 4096 values: 3 MiB, and 5 more per billion parameters
(`python -m benchmarks.codec`). A tile is encoded straight into its place in the shard: what else a
shard needs can follow while the tile is in the cache.

Of blocks that do not travel nothing is sent, not even their energies: the same work travels later,
and would be told twice.

What quantisation leaves out goes to `keep_residual`, as does the residual of blocks that do not
travel. It becomes the residual only on a commit that names this worker a survivor, or when the work
is spent.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from common.arrays import F32, ReadValues, WriteValues, aligned
from common.chain import TILE
from common.checks import MAX_LOSS_2_20
from common.codec.loops import squared_distance
from common.codec.noise import Noise
from common.codec.selection import I64, runs
from common.documents import SideValues
from common.errors import BrokenUpdateError
from common.ids import WorkerId
from common.scales import energy
from common.schema import BLOCK
from common.shards import ShardBytes, cut, pack_side_values
from common.terms import Terms

_LONGEST: Final = 2.0**60


@dataclass(frozen=True, slots=True)
class Sources:
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


def measure(terms: Terms, work: Sources) -> Lengths:
    """Return the lengths of what travels of the work.

    Raises:
        BrokenUpdateError: NaN, infinite or absurdly long; discard the work, do not upload.
    """
    difference, residual = 0.0, 0.0
    read_residual = work.residual if terms.codec.keeps_residual else None
    for tile in _tiles(terms.selection.blocks):
        for start, stop in runs(tile):
            difference += squared_distance(work.base(start, stop), work.theta(start, stop))
            if read_residual is not None:
                residual += _square(read_residual(start, stop))
    lengths = Lengths(math.sqrt(difference), math.sqrt(residual))
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
    work: Sources,
    lengths: Lengths,
    keep_residual: WriteValues,
    noise_key: bytes,
    loss_2_20: int,
    own_clip: float = math.inf,
) -> Iterator[ShardBytes]:
    """Yield the payload's shards in order, data first, then side values.

    Args:
        terms: of the round.
        worker: this member's name.
        work: as it was measured; it must not change until the last shard.
        lengths: from `measure`.
        keep_residual: receives e' of every block, valid during the call; never called by a codec
            that keeps none.
        noise_key: 16 fresh random bytes; the same key gives the same shards.
        loss_2_20: mean training loss in nats times 2**20.
        own_clip: C_max, this worker's own bound on C.
    """
    layout, tiles = terms.layout, _Tiles(terms, work)
    factor, decay = _factors(terms, worker, lengths, own_clip)
    encoder = terms.codec.encoder(factor, decay, Noise(noise_key))
    squares: list[F32] = []
    per_shard, size = layout.shard_bytes // layout.block_bytes, layout.block_bytes
    for first in range(0, layout.num_blocks, per_shard):
        last = min(first + per_shard, layout.num_blocks)
        shard, block = bytearray((last - first) * size), first
        view = memoryview(shard)
        for difference, e in tiles.sent(first, last):
            at, block = block, block + len(difference)
            place = slice((at - first) * size, (block - first) * size)
            tile = encoder.encode(at, difference, e, view[place])
            if tile.residual is not None:
                tiles.keep(at, block, tile.residual, keep_residual)
            squares.append(tile.square)
        yield shard
    for start, values in tiles.unsent_residual():
        keep_residual(start, values)
    side = SideValues(
        v=terms.weights.v[worker],
        loss_2_20=min(max(loss_2_20, 0), MAX_LOSS_2_20),
        clipped=int(0 < terms.clip * terms.numbers[worker].lr_sum < lengths.difference),
    )
    z = energy(np.concatenate(squares), terms.scales.energy_cap)
    yield from cut(pack_side_values(side, z), layout)


class _Tiles:
    """A member's work in tiles of some whole blocks, in two buffers.

    What it yields is valid until the next tile, and may be overwritten.
    """

    def __init__(self, terms: Terms, work: Sources) -> None:
        self._selection = terms.selection
        self._work = work
        self._residual = work.residual if terms.codec.keeps_residual else None
        self._difference, self._e = (aligned(TILE) for _ in range(2))

    def sent(self, first: int, last: int) -> Iterator[tuple[F32, F32 | None]]:
        """Yield difference and residual of wire blocks `first` to `last`, float32[n, BLOCK]."""
        for tile in _tiles(self._selection.blocks[first:last]):
            spans, done = list(runs(tile)), 0
            for start, stop in spans:
                to = slice(done, done + stop - start)
                base, theta = self._work.base(start, stop), self._work.theta(start, stop)
                np.subtract(base, theta, out=self._difference[to])
                done = to.stop
            yield self._difference[:done].reshape(-1, BLOCK), self._kept(spans)

    def keep(self, first: int, last: int, values: F32, keep_residual: WriteValues) -> None:
        """Store the next residual of wire blocks `first` to `last`, float32[n, BLOCK]."""
        flat, done = values.reshape(-1), 0
        for start, stop in self._selection.runs(first, last):
            keep_residual(start, flat[done : done + stop - start])
            done += stop - start

    def unsent_residual(self) -> Iterator[tuple[int, F32]]:
        """Yield where they begin, and values of the residual that stay as they are."""
        if self._residual is None or self._selection.is_whole:
            return
        for start, stop in runs(self._selection.rest):
            yield start, self._residual(start, stop)

    def _kept(self, spans: Sequence[tuple[int, int]]) -> F32 | None:
        if self._residual is None:
            return None
        if len(spans) == 1:
            return self._residual(*spans[0]).reshape(-1, BLOCK)
        done = 0
        for start, stop in spans:
            self._e[done : done + stop - start] = self._residual(start, stop)
            done += stop - start
        return self._e[:done].reshape(-1, BLOCK)


def _factors(
    terms: Terms, worker: WorkerId, lengths: Lengths, own_clip: float
) -> tuple[float, float]:
    """Return what the difference and the residual are multiplied by."""
    longest = min(terms.clip or math.inf, own_clip) * terms.numbers[worker].lr_sum
    factor = terms.weights.wire(worker) * _shrink(longest, lengths.difference)
    decay = terms.algorithm.codec.residual_decay * _shrink(longest, lengths.residual)
    return factor, decay


def _shrink(longest: float, length: float) -> float:
    return longest / length if length > longest else 1.0


def _tiles(blocks: I64) -> Iterator[I64]:
    for at in range(0, len(blocks), TILE // BLOCK):
        yield blocks[at : at + TILE // BLOCK]


def _square(x: F32) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.vecdot(x, x))
