"""One commit replayed: the next version from its parent, the commit and the aggregate file.

Coordinator and workers run this same code, leaf by leaf, and get the same bits. It touches no disk
itself: files are bytes that come and go through the caller's functions. What it writes before it
refuses is never named by a version, and so is garbage.
"""

import functools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

import numpy as np

from common.arrays import F32, ReadBytes, ReadValues
from common.canonical import digest_of
from common.checks import check_commit, check_length, check_plan
from common.documents import Algorithm, Commit, Genesis, Version
from common.errors import DamagedDataError
from common.ids import Digest, WorkerId
from common.outer import OuterStep, has_momentum, outer_step
from common.scales import GENESIS_SCALE, next_clip, next_scales
from common.schema import BLOCK, LEAF, ModelSchema
from common.shards import unpack_energy
from common.terms import ReadBlob, Terms, round_terms
from common.weight import share

TILE: Final = 16 * BLOCK
"""Values that are worked on at once: they fit the cache, and divide a leaf."""

WriteBlob = Callable[[bytes], Digest]
"""Stores a file under its SHA-256, and returns that."""


def tiles(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of what lies of each tile between two values; tiles begin at 0."""
    for at in range(start - start % TILE, stop, TILE):
        yield max(at, start), min(at + TILE, stop)


def genesis_version(
    schema: ModelSchema, algorithm: Algorithm, read_theta: ReadValues, write_blob: WriteBlob
) -> Version:
    """Return version 0.

    Args:
        schema: of the model.
        algorithm: says whether there is momentum.
        read_theta: the initial parameters and buffers; padding must be zero.
        write_blob: receives every file of the version.
    """
    theta = []
    for start, stop in schema.leaves():
        leaf = read_theta(start, stop).astype("<f4")
        for a, b in schema.padding():
            assert not leaf[max(a - start, 0) : max(b - start, 0)].any(), "padding must be zero"
        theta.append(write_blob(leaf.tobytes()))
    zeros: tuple[Digest, ...] = ()
    if has_momentum(algorithm.outer):
        zeros = tuple(write_blob(bytes(4 * (stop - start))) for start, stop in schema.leaves())
    scales = np.full(schema.num_blocks, GENESIS_SCALE, np.float32)
    return Version(tuple(theta), zeros, zeros, _write_leaves(scales, write_blob), 0.0, 0.0, 0)


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
        pool: works on several leaves at once, where the three functions may be called from its
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
    outer = genesis.algorithm.outer
    step = outer_step(outer, share(commit.plan, commit.survivors), version.phi)

    layout = terms.layout
    energy = unpack_energy(_exactly(read_aggregate, layout.data_bytes, layout.energy_bytes))
    sum_v, measures = commit.lanes.v, note_step is not None
    replay = _Replay(terms, version, sum_v, step, measures, read_aggregate, read_blob, write_blob)
    over_leaves = map if pool is None else pool.map
    moved = list(over_leaves(replay.leaf, genesis.schema.leaves()))
    check_length(terms, commit.survivors, (x for leaf in moved for x in leaf.squares))
    if note_step is not None:
        note_step(math.sqrt(sum(leaf.step_square for leaf in moved)))

    num_survivors, commits = len(commit.survivors), version.commits + 1
    clip = 0.0
    if genesis.algorithm.clipping:
        clip = next_clip(
            version.clip, commits, terms.scales, energy, num_survivors, commit.lanes.clipped
        )
    scales = next_scales(terms.scales, energy, num_survivors)
    return Version(
        theta=tuple(leaf.theta for leaf in moved),
        momentum=tuple(leaf.momentum for leaf in moved if leaf.momentum),
        acc=tuple(leaf.acc for leaf in moved if leaf.acc),
        scales=_write_leaves(scales, write_blob),
        phi=step.next_phi,
        clip=clip,
        commits=commits,
    )


@dataclass(frozen=True, slots=True)
class _Leaf:
    """New digests of one leaf, "" where the version has none.

    Args:
        squares: squared lengths of its blocks of the mean.
        step_square: squared length of its step in theta; 0 where nobody asked.
    """

    theta: Digest
    momentum: Digest
    acc: Digest
    squares: list[float]
    step_square: float


class _Replay:
    """The work of one `advance`, leaf by leaf."""

    def __init__(
        self,
        terms: Terms,
        version: Version,
        sum_v: int,
        step: OuterStep,
        measures: bool,
        read_aggregate: ReadBytes,
        read_blob: ReadBlob,
        write_blob: WriteBlob,
    ) -> None:
        self._terms, self._version, self._sum_v, self._step = terms, version, sum_v, step
        self._measures = measures
        self._read_aggregate, self._read, self._write = read_aggregate, read_blob, write_blob
        self._padding = terms.schema.padding()
        self._zeros = functools.cache(lambda num: write_blob(bytes(4 * num)))

    def leaf(self, span: tuple[int, int]) -> _Leaf:
        """Move the leaf that lies at `span`, tile by tile so that each is in the cache once."""
        (start, stop), version = span, self._version
        i, num = start // LEAF, stop - start
        theta = self._values(version.theta[i], num)
        acc = self._values(version.acc[i], num) if version.acc else None
        completes = acc is not None and self._step.completes
        momentum = self._values(version.momentum[i], num) if completes else None
        squares: list[float] = []
        step_square = 0.0
        for a, mean in self._means(start, stop, squares):
            tile = slice(a - start, a - start + len(mean))
            before = theta[tile].copy() if self._measures else None
            num_parameters = min(max(self._terms.schema.parameter_length - a, 0), len(mean))
            p, b = slice(num_parameters), slice(num_parameters, None)
            self._step.average(theta[tile][b], mean[b])
            self._step.descend(theta[tile][p], mean[p])
            if acc is not None:
                self._step.accumulate(acc[tile][p], mean[p])
                if momentum is not None:
                    self._step.complete(theta[tile][p], momentum[tile][p], acc[tile][p])
            if before is not None:
                before -= theta[tile]
                step_square += float(np.vecdot(before, before))
        if acc is None:
            return _Leaf(self._write(_bytes(theta)), Digest(""), Digest(""), squares, step_square)
        if momentum is None:
            kept = version.momentum[i]
            return _Leaf(
                self._write(_bytes(theta)), kept, self._write(_bytes(acc)), squares, step_square
            )
        moved = self._write(_bytes(theta)), self._write(_bytes(momentum))
        return _Leaf(*moved, self._zeros(num), squares, step_square)

    def _means(self, start: int, stop: int, squares: list[float]) -> Iterator[tuple[int, F32]]:
        """Yield each tile's start and weighted mean, float32[tile]; note the squared lengths."""
        codec = self._terms.codec
        per_tile = TILE * codec.bits // 8
        content = _exactly(
            self._read_aggregate, start * codec.bits // 8, (stop - start) * codec.bits // 8
        )
        for n, (a, b) in enumerate(tiles(start, stop)):
            payload = content[n * per_tile : (n + 1) * per_tile]
            mean = codec.mean(a // BLOCK, payload, self._sum_v).reshape(-1)
            if self._terms.clip > 0:
                squares += codec.squares(a // BLOCK, payload).tolist()
            for first, last in self._padding:
                mean[min(max(first, a), b) - a : min(max(last, a), b) - a] = 0
            yield a, mean

    def _values(self, digest: Digest, num: int) -> F32:
        if digest == _zeros_digest(num):  # acc, mostly: nothing to read, nothing to check
            return np.zeros(num, np.float32)
        content = self._read(digest)
        if len(content) != 4 * num:
            raise DamagedDataError(f"file {digest} has {len(content)} bytes, must be {4 * num}")
        return np.frombuffer(content, "<f4").astype(np.float32)


@functools.lru_cache(maxsize=8)
def _zeros_digest(num: int) -> Digest:
    return digest_of(bytes(4 * num))


def _write_leaves(values: F32, write_blob: WriteBlob) -> tuple[Digest, ...]:
    return tuple(write_blob(_bytes(values[i : i + LEAF])) for i in range(0, len(values), LEAF))


def _bytes(values: F32) -> bytes:
    return values.astype("<f4", copy=False).tobytes()


def _exactly(read: ReadBytes, offset: int, length: int) -> bytes:
    content = read(offset, length)
    if len(content) != length:
        raise DamagedDataError(f"aggregate: {len(content)} bytes at {offset}, must be {length}")
    return content
