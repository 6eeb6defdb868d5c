"""One commit replayed: the next version from its parent, the commit and the aggregate file.

Coordinator and workers run this same code, leaf by leaf, and get the same bits. It touches no disk
itself: files are bytes that come and go through the caller's functions. What it writes before it
refuses is never named by a version, and so is garbage.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from common.arrays import F32, ReadBytes, ReadValues
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
    """Yield (start, stop) of each tile between two values; only the last may be short."""
    for at in range(start, stop, TILE):
        yield at, min(at + TILE, stop)


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
) -> Version:
    """Return the version that `commit` makes of `version`.

    Args:
        genesis: of the run.
        version: the parent.
        commit: checked here, all but the digest of its aggregate.
        read_aggregate: reads the aggregate file, whose digest the caller has checked or will check.
        read_blob: reads a file of the parent.
        write_blob: receives every new file.

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

    energy_bytes = terms.layout.aggregate_bytes - terms.layout.data_bytes
    energy = unpack_energy(_exactly(read_aggregate, terms.layout.data_bytes, energy_bytes))
    replay = _Replay(terms, commit.lanes.v, step, read_aggregate, read_blob, write_blob)
    moved = [replay.leaf(version, i, a, b) for i, (a, b) in enumerate(genesis.schema.leaves())]
    check_length(terms, commit.survivors, replay.squares)

    num_survivors, commits = len(commit.survivors), version.commits + 1
    clip = 0.0
    if genesis.algorithm.clipping:
        clip = next_clip(
            version.clip, commits, terms.scales, energy, num_survivors, commit.lanes.clipped
        )
    scales = next_scales(terms.scales, energy, num_survivors)
    theta, momentum, acc = zip(*moved, strict=True)
    return Version(
        theta=theta,
        momentum=momentum if has_momentum(outer) else (),
        acc=acc if has_momentum(outer) else (),
        scales=_write_leaves(scales, write_blob),
        phi=step.next_phi,
        clip=clip,
        commits=commits,
    )


class _Replay:
    """The work of one `advance`, leaf by leaf; `squares` collects the blocks' squared lengths."""

    def __init__(
        self,
        terms: Terms,
        sum_v: int,
        step: OuterStep,
        read_aggregate: ReadBytes,
        read_blob: ReadBlob,
        write_blob: WriteBlob,
    ) -> None:
        self.squares: list[float] = []
        self._terms, self._sum_v, self._step = terms, sum_v, step
        self._read_aggregate, self._read, self._write = read_aggregate, read_blob, write_blob
        self._padding = terms.schema.padding()
        self._zeros = functools.cache(lambda num: write_blob(bytes(4 * num)))

    def leaf(self, version: Version, i: int, start: int, stop: int) -> tuple[Digest, ...]:
        """Return the new digests of theta, momentum and acc; "" where the version has none."""
        theta = self._values(version.theta[i], stop - start)
        mean = self._mean(start, stop)
        num_parameters = min(max(self._terms.schema.parameter_length - start, 0), stop - start)
        p, b = slice(num_parameters), slice(num_parameters, None)
        self._step.average(theta[b], mean[b])
        self._step.descend(theta[p], mean[p])
        if not version.acc:
            return self._write(_bytes(theta)), Digest(""), Digest("")
        acc = self._values(version.acc[i], stop - start)
        self._step.accumulate(acc[p], mean[p])
        if not self._step.completes:
            return self._write(_bytes(theta)), version.momentum[i], self._write(_bytes(acc))
        momentum = self._values(version.momentum[i], stop - start)
        self._step.complete(theta[p], momentum[p], acc[p])
        return self._write(_bytes(theta)), self._write(_bytes(momentum)), self._zeros(stop - start)

    def _mean(self, start: int, stop: int) -> F32:
        codec = self._terms.codec
        per_tile = TILE * codec.bits // 8
        content = _exactly(
            self._read_aggregate, start * codec.bits // 8, (stop - start) * codec.bits // 8
        )
        mean = np.empty(stop - start, np.float32)
        for n, (a, b) in enumerate(tiles(start, stop)):
            payload = content[n * per_tile : (n + 1) * per_tile]
            tile = codec.mean(a // BLOCK, payload, self._sum_v)
            mean[a - start : b - start] = tile.reshape(-1)
            if self._terms.clip > 0:
                self.squares += codec.squares(a // BLOCK, payload).tolist()
        for a, b in self._padding:
            mean[max(a - start, 0) : max(b - start, 0)] = 0
        return mean

    def _values(self, digest: Digest, num: int) -> F32:
        content = self._read(digest)
        if len(content) != 4 * num:
            raise DamagedDataError(f"file {digest} has {len(content)} bytes, must be {4 * num}")
        return np.frombuffer(content, "<f4").astype(np.float32)


def _write_leaves(values: F32, write_blob: WriteBlob) -> tuple[Digest, ...]:
    return tuple(write_blob(_bytes(values[i : i + LEAF])) for i in range(0, len(values), LEAF))


def _bytes(values: F32) -> bytes:
    return values.astype("<f4", copy=False).tobytes()


def _exactly(read: ReadBytes, offset: int, length: int) -> bytes:
    content = read(offset, length)
    if len(content) != length:
        raise DamagedDataError(f"aggregate: {len(content)} bytes at {offset}, must be {length}")
    return content
