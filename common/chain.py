"""Replays one commit: the next version from its parent, the commit and the aggregate file.

Coordinator and workers run this same code, segment by segment, and get the same bits. It touches no
disk itself: files are bytes that come and go through the caller's functions. What it writes before
it refuses is never named by a version, and so is garbage.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

import numpy as np

from common.arrays import F32, U32, ReadBytes, ReadValues
from common.canonical import digest_of
from common.checks import check_commit, check_length, check_plan
from common.documents import Algorithm, Commit, Genesis, Version
from common.errors import DamagedDataError
from common.ids import Digest, WorkerId
from common.outer import optimiser_of, state_lengths
from common.outer.optimiser import OuterOptimiser, State, average
from common.scales import drifting_scales, next_clip, next_scales
from common.schema import BLOCK, SEGMENT, ModelSchema, segments
from common.shards import unpack_energy
from common.terms import DRIFTING, ReadBlob, Terms, first_scales, num_fragments, round_terms
from common.weight.share import share

TILE: Final = 16 * BLOCK
"""Values that are worked on at once: they fit the cache, and divide a segment."""

WriteBlob = Callable[[bytes], Digest]
"""Stores a file under its SHA-256, and returns that."""


def tiles(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of what lies of each tile between two values; tiles begin at 0."""
    for at in range(start - start % TILE, stop, TILE):
        yield max(at, start), min(at + TILE, stop)


def genesis_version(
    schema: ModelSchema,
    algorithm: Algorithm,
    seed: int,
    read_theta: ReadValues,
    write_blob: WriteBlob,
) -> Version:
    """Return version 0.

    Args:
        schema: of the model.
        algorithm: says what state there is, and what travels first.
        seed: of the run.
        read_theta: the initial parameters and buffers; padding must be zero.
        write_blob: receives every file of the version.

    Raises:
        DamagedDataError: the padding is not zero.
    """
    theta = []
    for start, stop in schema.segments():
        segment = read_theta(start, stop).astype("<f4")
        for a, b in schema.padding():
            if segment[max(a - start, 0) : max(b - start, 0)].any():
                raise DamagedDataError("the padding of the first version is not zero")
        theta.append(write_blob(segment.tobytes()))
    state = {
        name: tuple(write_blob(bytes(4 * (stop - start))) for start, stop in segments(num))
        for name, num in state_lengths(algorithm.outer, schema).items()
    }
    scales = first_scales(algorithm.codec, schema.num_blocks, seed)
    return Version(
        theta=tuple(theta),
        state=state,
        scales=_write_segments(scales, write_blob),
        clip=0.0,
        commits=0,
    )


def advance(
    genesis: Genesis,
    version: Version,
    commit: Commit,
    read_aggregate: ReadBytes,
    read_blob: ReadBlob,
    write_blob: WriteBlob,
    pool: Executor | None = None,
    note_step: Callable[[float], None] | None = None,
) -> Version:
    """Return the version that `commit` makes of `version`.

    Args:
        genesis: of the run.
        version: the parent.
        commit: checked here, all but the digest of its aggregate.
        read_aggregate: reads the aggregate file, whose digest the caller has checked or will check.
        read_blob: reads a file of the parent.
        write_blob: receives every new file.
        pool: works on several segments at once, where the three functions may be called from its
            threads; the bits are the same. Each thread holds about 24 MiB.
        note_step: receives the euclidean length of the step in theta, about.

    Raises:
        BadCommitError: the commit or its aggregate does not follow from the parent.
        BadNumbersError: a member's numbers are impossible.
        DamagedDataError: a file has the wrong size.
    """
    check_plan(genesis, version, commit.plan)
    numbers = {WorkerId(w): n for w, n in commit.numbers.items()}
    terms = round_terms(genesis, version, commit.plan, numbers, read_blob)
    check_commit(commit, terms)
    _check_shape(genesis, version)

    measures = note_step is not None
    replay = _Replay(terms, version, commit, measures, read_aggregate, read_blob, write_blob)
    over_segments = map if pool is None else pool.map
    moved = list(over_segments(replay.segment, genesis.schema.segments()))
    check_length(terms, commit.survivors, (x for segment in moved for x in segment.squares))
    if note_step is not None:
        note_step(math.sqrt(sum(segment.step_square for segment in moved)))

    energy = replay.energy()
    return Version(
        theta=tuple(segment.theta for segment in moved),
        state=replay.next_state(moved),
        scales=_write_segments(_next_scales(terms, energy, commit), write_blob),
        clip=_next_clip(terms, energy, commit),
        commits=version.commits + 1,
    )


def _next_scales(terms: Terms, energy: U32, commit: Commit) -> F32:
    """Return R_B, and d_B where the version counts it, float32[num_scales]."""
    used, sent = terms.scales, terms.selection.blocks
    measured = next_scales(used.of(sent), energy, len(commit.survivors))
    if terms.algorithm.codec.kind in DRIFTING:
        return np.concatenate(drifting_scales(used, sent, measured, terms.commits))
    scales = used.per_unit.copy()
    scales[sent] = measured
    return scales


def _next_clip(terms: Terms, energy: U32, commit: Commit) -> float:
    if not terms.algorithm.clipping:
        return 0.0
    return next_clip(
        terms.clip,
        terms.commits + 2 - num_fragments(terms.algorithm.codec),
        terms.scales.of(terms.selection.blocks),
        energy,
        len(commit.survivors),
        commit.side_values.clipped,
    )


def _check_shape(genesis: Genesis, version: Version) -> None:
    """Refuse a version that has other vectors than the run's, or of another length.

    Raises:
        DamagedDataError: names the vector.
    """
    schema, outer = genesis.schema, genesis.algorithm.outer
    expected = {"theta": schema.length, **state_lengths(outer, schema)}
    found = {"theta": version.theta, **version.state}
    for name in sorted(expected.keys() | found.keys()):
        num, should_be = len(found.get(name, ())), len(list(segments(expected.get(name, 0))))
        if num != should_be:
            raise DamagedDataError(
                f"the version has {num} segments of {name}, with {outer.kind} on this model it has "
                f"{should_be}"
            )


@dataclass(frozen=True, slots=True)
class _Segment:
    """New digests of one segment.

    Args:
        state: of the optimiser's vectors, by name.
        squares: squared lengths of its blocks of the mean.
        step_square: squared length of its step in theta; 0 where nobody asked.
    """

    theta: Digest
    state: Mapping[str, Digest]
    squares: list[float]
    step_square: float


class _Replay:
    """The work of one `advance`, segment by segment."""

    def __init__(
        self,
        terms: Terms,
        version: Version,
        commit: Commit,
        measures: bool,
        read_aggregate: ReadBytes,
        read_blob: ReadBlob,
        write_blob: WriteBlob,
    ) -> None:
        self._terms, self._version = terms, version
        self._measures, self._sum_v = measures, commit.side_values.v
        self._block_bytes = terms.layout.aggregate_block_bytes(len(commit.survivors))
        self._read_aggregate, self._read, self._write = read_aggregate, read_blob, write_blob
        self._padding = terms.schema.padding()
        self._zeros = functools.cache(lambda num: write_blob(bytes(4 * num)))
        outer, self._share = terms.algorithm.outer, share(commit.plan, commit.survivors)
        self._optimiser: OuterOptimiser = optimiser_of(outer)(outer, self._share)
        self._per_block = {
            name: self._joined(version.state[name], terms.schema.num_blocks)
            for name in self._optimiser.per_block
        }
        self._optimiser.join(self._per_block, terms.selection.blocks)

    def next_state(self, moved: Sequence[_Segment]) -> dict[str, tuple[Digest, ...]]:
        """Return the next version's state, once every segment has moved."""
        self._optimiser.settle(self._per_block)
        state = {name: tuple(s.state[name] for s in moved) for name in self._optimiser.vectors}
        for name, values in self._per_block.items():
            state[name] = _write_segments(values, self._write)
        return state

    def energy(self) -> U32:
        """Return the sums of z_B of the blocks that travelled, uint32[num_sent]."""
        layout = self._terms.layout
        offset = layout.num_blocks * self._block_bytes
        return unpack_energy(_exactly(self._read_aggregate, offset, layout.energy_bytes))

    def segment(self, span: tuple[int, int]) -> _Segment:
        """Move what travelled of the segment that lies at `span`, tile by tile.

        Each tile is in the cache once.
        """
        (start, stop), version = span, self._version
        i, num = start // SEGMENT, stop - start
        state = {name: version.state[name][i] for name in self._optimiser.vectors}
        first, last = self._terms.selection.within(start, stop)
        if first == last:
            return _Segment(version.theta[i], state, [], 0.0)
        sent = self._terms.selection.blocks[first:last]
        touched = self._optimiser.touched({n: x[sent] for n, x in self._per_block.items()})
        theta = self._values(version.theta[i], num)
        vectors = {name: self._values(state[name], num) for name in touched}
        squares: list[float] = []
        step_square = 0.0
        for a, mean in self._means(first, last, squares):
            part = slice(a - start, a - start + len(mean))
            before = theta[part].copy() if self._measures else None
            self._move(a, mean, theta[part], {n: x[part] for n, x in vectors.items()})
            if before is not None:
                before -= theta[part]
                step_square += float(np.vecdot(before, before))
        for name, values in vectors.items():
            state[name] = self._zeros(num) if _is_zero(values) else self._write(_bytes(values))
        return _Segment(self._write(_bytes(theta)), state, squares, step_square)

    def _move(self, a: int, mean: F32, theta: F32, vectors: State) -> None:
        """Step on some blocks that lie beside each other from value `a` on."""
        num_parameters = min(max(self._terms.schema.parameter_length - a, 0), len(mean))
        p, b = slice(num_parameters), slice(num_parameters, None)
        average(theta[b], mean[b], self._share)
        first = a // BLOCK
        of_tile = slice(first, first + num_parameters // BLOCK)
        self._optimiser.step(
            theta[p],
            mean[p],
            {name: values[p] for name, values in vectors.items()},
            {name: values[of_tile] for name, values in self._per_block.items()},
        )

    def _means(self, first: int, last: int, squares: list[float]) -> Iterator[tuple[int, F32]]:
        """Yield where a run of wire blocks begins, and its weighted mean, float32[n].

        A tile may consist of several runs. The squared lengths of its blocks are noted.
        """
        codec, size, per_tile = self._terms.codec, self._block_bytes, TILE // BLOCK
        content = _exactly(self._read_aggregate, first * size, (last - first) * size)
        for at in range(first, last, per_tile):
            end = min(at + per_tile, last)
            payload = content[(at - first) * size : (end - first) * size]
            mean = codec.mean(at, end, payload, self._sum_v).reshape(-1)
            if self._terms.clip > 0:
                squares += codec.squares(at, end, payload).tolist()
            done = 0
            for a, b in self._terms.selection.runs(at, end):
                run = mean[done : done + b - a]
                done += b - a
                for start, stop in self._padding:
                    run[min(max(start, a), b) - a : min(max(stop, a), b) - a] = 0
                yield a, run

    def _values(self, digest: Digest, num: int) -> F32:
        if digest == _zeros_digest(num):  # acc, mostly: nothing to read, nothing to check
            return np.zeros(num, np.float32)
        content = self._read(digest)
        if len(content) != 4 * num:
            raise DamagedDataError(f"file {digest} has {len(content)} bytes, must be {4 * num}")
        return np.frombuffer(content, "<f4").astype(np.float32)

    def _joined(self, files: Sequence[Digest], num: int) -> F32:
        """Return the values of several files; none = zeros."""
        if not files:
            return np.zeros(num, np.float32)
        spans = segments(num)
        parts = [self._values(d, b - a) for d, (a, b) in zip(files, spans, strict=True)]
        return np.concatenate(parts)


def _is_zero(values: F32) -> bool:
    """Return whether all are +0; most often the first block tells that they are not."""
    bits = values.view(np.uint32)
    return not bits[:BLOCK].any() and not bits.any()


@functools.lru_cache(maxsize=8)
def _zeros_digest(num: int) -> Digest:
    return digest_of(bytes(4 * num))


def _write_segments(values: F32, write_blob: WriteBlob) -> tuple[Digest, ...]:
    return tuple(write_blob(_bytes(values[a:b])) for a, b in segments(len(values)))


def _bytes(values: F32) -> bytes:
    return values.astype("<f4", copy=False).tobytes()


def _exactly(read: ReadBytes, offset: int, length: int) -> bytes:
    content = read(offset, length)
    if len(content) != length:
        raise DamagedDataError(f"aggregate: {len(content)} bytes at {offset}, must be {length}")
    return content
