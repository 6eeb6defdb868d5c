"""How a model's tensors lie in one flat float32 vector, the same in every process.

Parameters come first, in the learner's order, one after the other; zeros pad them to a whole number
of blocks; float buffers follow, padded in the same way. A block is 4096 values: the unit of
rotation and of scales. A segment is 2**20 values: the unit of hashing, storing and healing.

Tied weights stand once, under the first name the learner gives. Integer buffers never move: their
hash is in `constants`, so that models which differ in them do not share a schema.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Final

from common import canonical
from common.ids import Digest

BLOCK: Final = 4096
"""Values per block."""

SEGMENT: Final = 2**20
"""Values per segment: 256 blocks, 4 MiB of float32."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One named tensor of the federation: float32, C order."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class ModelSchema:
    """The layout of the flat vector.

    Args:
        parameters: what the outer optimiser steps.
        buffers: float state that is only averaged (batch-norm statistics, say).
        constants: name -> SHA-256 of integer buffers, which must be equal everywhere.
    """

    parameters: tuple[TensorSpec, ...]
    buffers: tuple[TensorSpec, ...] = ()
    constants: Mapping[str, str] = field(default_factory=dict)

    @property
    def parameter_values(self) -> int:
        """Values in the parameters' part, padding excluded."""
        return sum(t.size for t in self.parameters)

    @property
    def parameter_length(self) -> int:
        """Values in the parameters' part, padding included: a multiple of BLOCK."""
        return _padded(self.parameter_values)

    @property
    def buffer_values(self) -> int:
        """Values in the buffers' part, padding excluded."""
        return sum(t.size for t in self.buffers)

    @property
    def length(self) -> int:
        """Values in the whole vector, padding included: a multiple of BLOCK."""
        return self.parameter_length + _padded(self.buffer_values)

    @property
    def num_blocks(self) -> int:
        """Blocks in the whole vector."""
        return self.length // BLOCK

    def segments(self) -> Iterator[tuple[int, int]]:
        """Yield (start, stop) of each segment, in values; the last one may be shorter."""
        yield from segments(self.length)

    def padding(self) -> tuple[tuple[int, int], ...]:
        """Return (start, stop) of the values that belong to no tensor and stay zero."""
        p, b = self.parameter_values, self.parameter_length + self.buffer_values
        spans = ((p, self.parameter_length), (b, self.length))
        return tuple((start, stop) for start, stop in spans if start < stop)

    def offsets(self) -> Iterator[tuple[TensorSpec, int]]:
        """Yield every tensor with the index of its first value."""
        at = 0
        for t in self.parameters:
            yield t, at
            at += t.size
        at = self.parameter_length
        for t in self.buffers:
            yield t, at
            at += t.size

    @property
    def hash(self) -> Digest:
        """What `Join` carries: models with equal hashes can share a run."""
        return canonical.digest(self)


def segments(num_values: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of each segment of a vector; the last one may be shorter."""
    for start in range(0, num_values, SEGMENT):
        yield start, min(start + SEGMENT, num_values)


def _padded(values: int) -> int:
    return -(-values // BLOCK) * BLOCK
