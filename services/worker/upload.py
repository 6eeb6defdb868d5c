"""Encoding a round's frozen work into a payload file, and reading its shards back for the upload.

The payload is written out before its first byte is sent: a broken upload then goes on with the very
bytes that it began with, whatever happened to the parameters meanwhile.
"""

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Protocol, Self

import numpy as np

from common.arrays import F32
from common.documents import Genesis, Numbers, Plan, Version
from common.ids import RoundId, WorkerId
from common.schema import SEGMENT
from common.shards import PayloadLayout, ShardBytes
from common.terms import ReadBlob, Terms, round_terms
from services.disk.files import read_at, storage_errors, write_at
from services.worker.state import SaveFiles
from worker.rounds.update import Sources, measure, shards


class PushShards(Protocol):
    """`services.wire.bulk_link.BulkLink.push`, in a thread."""

    async def __call__(
        self,
        round_id: RoundId,
        num_shards: int,
        read_shard: Callable[[int], bytes],
        *,
        give_up: Event,
    ) -> None:
        """Return once every shard arrived."""


Protect = Callable[[PayloadLayout, Iterable[ShardBytes]], Iterator[ShardBytes]]
"""What the privacy tier makes of shards."""


class FlatFile:
    """A whole vector in a file: little-endian float32, [length]. A context manager."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC if write else os.O_RDONLY
        with storage_errors(f"cannot open {path}"):
            self._fd = os.open(path, flags, 0o600)
        self._path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def read(self, start: int, stop: int) -> F32:
        """Return values [start, stop), float32."""
        with storage_errors(f"cannot read {self._path}"):
            return np.frombuffer(read_at(self._fd, 4 * start, 4 * (stop - start)), "<f4")

    def resize(self, num_values: int) -> None:
        """Have that many values; zero where nothing is written."""
        with storage_errors(f"cannot write {self._path}"):
            os.ftruncate(self._fd, 4 * num_values)

    def write(self, start: int, values: F32) -> None:
        """Store float32 values from index `start` on."""
        with storage_errors(f"cannot write {self._path}"):
            write_at(self._fd, values.astype("<f4", copy=False).tobytes(), 4 * start)


class BaseValues:
    """Theta of a version, read segment by segment; holds one segment."""

    def __init__(self, version: Version, read_blob: ReadBlob) -> None:
        self._segments = version.theta
        self._read_blob = read_blob
        self._at = -1
        self._segment: F32 = np.empty(0, np.float32)

    def read(self, start: int, stop: int) -> F32:
        """Return values [start, stop), float32, which must lie in one segment."""
        index = start // SEGMENT
        if index != self._at:
            content = self._read_blob(self._segments[index])
            self._at, self._segment = index, np.frombuffer(content, "<f4")
        return self._segment[start - index * SEGMENT : stop - index * SEGMENT]


class Payload:
    """An encoded update on disk. A context manager.

    Args:
        path: the file.
        layout: where its shards are.
    """

    def __init__(self, path: Path, layout: PayloadLayout) -> None:
        self.layout = layout
        with storage_errors(f"cannot read {path}"):
            self._fd = os.open(path, os.O_RDONLY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def read_shard(self, index: int) -> bytes:
        """Return the bytes of one shard."""
        offset, length = self.layout.shard(index)
        return read_at(self._fd, offset, length)


def encode_payload(
    genesis: Genesis,
    version: Version,
    plan: Plan,
    numbers: Mapping[WorkerId, Numbers],
    worker: WorkerId,
    loss_2_20: int,
    *,
    read_blob: ReadBlob,
    stage: SaveFiles,
    residual: Path | None,
    protect: Protect,
    own_clip: float,
) -> Payload:
    """Encode the work frozen in the stage's theta against the base `version`.

    Written into the stage: the payload; the next residual e'; and where only some blocks travel the
    anchor, theta at close in those and the base in the others: what this worker's parameters are
    without what was sent.

    Args:
        numbers: of U2.
        loss_2_20: of the frozen work, in nats times 2**20.
        read_blob: reads a file of the base.
        stage: the frozen work.
        residual: e, a flat file; None or missing = zero.
        protect: makes of the shards what is sent.
        own_clip: C_max, this worker's own bound on C.

    Raises:
        BrokenUpdateError: the work is not finite.
    """
    terms = round_terms(genesis, version, plan, numbers, read_blob)
    base = BaseValues(version, read_blob)
    with ExitStack() as files:
        own = files.enter_context(FlatFile(stage.theta))
        kept = files.enter_context(FlatFile(stage.residual, write=True))
        if terms.codec.keeps_residual:
            kept.resize(genesis.schema.length)
        e = None
        if residual is not None and residual.exists():
            e = files.enter_context(FlatFile(residual)).read
        work = Sources(base.read, own.read, e)
        lengths = measure(terms, work)
        key = secrets.token_bytes(16)
        plain = shards(terms, worker, work, lengths, kept.write, key, loss_2_20, own_clip)
        out = files.enter_context(stage.payload.open("wb", buffering=0))
        for index, shard in enumerate(protect(terms.layout, plain)):
            write_at(out.fileno(), shard, terms.layout.shard(index)[0])
        if not terms.selection.is_whole:
            _write_anchor(terms, work, files.enter_context(FlatFile(stage.anchor, write=True)))
    return Payload(stage.payload, terms.layout)


def _write_anchor(terms: Terms, work: Sources, anchor: FlatFile) -> None:
    """Write theta where it travelled, and the base elsewhere."""
    for start, stop in terms.schema.segments():
        values = work.base(start, stop).copy()
        for a, b in terms.selection.runs(*terms.selection.within(start, stop)):
            values[a - start : b - start] = work.theta(a, b)
        anchor.write(start, values)
