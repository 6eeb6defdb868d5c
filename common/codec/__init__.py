"""How a tile (some whole blocks) of an update becomes bytes, and a sum of updates a mean.

One file per codec; `common/terms.py` picks the round's.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from common.arrays import F32, F64
from common.codec.noise import Noise
from common.packing import Writable

Total = npt.NDArray[Any]
"""A running sum of one tile; its dtype is the codec's own business."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """What is left of one tile of one member's update, apart from its payload.

    Args:
        residual: e', what quantisation left out, float32[n, BLOCK] in rotated coordinates; None
            where the codec loses nothing. Valid until the encoder's next tile, and while nobody
            writes to `difference`.
        square: squared length of each block in units of r_B, float32[n]; may be infinite.
    """

    residual: F32 | None
    square: F32


class TileEncoder(Protocol):
    """Encodes one member's update, tile by tile, in buffers of its own: for one thread."""

    def encode(
        self, block: int, difference: F32, residual: F32 | None, payload: Writable
    ) -> Encoded:
        """Encode a tile.

        Args:
            block: index of the tile's first block.
            difference: base - theta, float32[n, BLOCK]; overwritten.
            residual: e, float32[n, BLOCK]; None = zero.
            payload: receives the tile, little-endian.
        """
        ...


class TileCodec(Protocol):
    """One round's codec: it knows the round's scales.

    A tile is n whole blocks as they lie on the wire; so are all indices of blocks here.
    """

    bits: int
    keeps_residual: bool

    def encoder(self, factor: float, decay: float, noise: Noise) -> TileEncoder:
        """Return an encoder of one member's update.

        Args:
            factor: weight on the wire times clipping, at most 1.
            decay: of the residual, its own clipping included.
            noise: of this attempt.
        """
        ...

    def total(self, num_blocks: int) -> Total:
        """Return an empty sum for a tile."""
        ...

    def add(self, total: Total, payload: bytes) -> Total:
        """Return the sum with one member's tile; `total` is used up.

        Raises:
            BadUpdateError: a value that no honest member sends.
        """
        ...

    def pack(self, total: Total) -> bytes:
        """Return a sum as it lies in the aggregate."""
        ...

    def mean(self, first: int, last: int, payload: bytes, sum_v: int) -> F32:
        """Return the tile of the weighted mean, float32[n, BLOCK]: the same bits everywhere.

        Args:
            first: the tile's first block.
            last: the block after it.
            payload: the tile of an aggregate.
            sum_v: sum of V over the survivors.
        """
        ...

    def squares(self, first: int, last: int, payload: bytes) -> F64:
        """Return each block's squared length in wire units, before division by V: float64[n]."""
        ...

    def rounding_bound(self) -> float:
        """Return the longest error that quantisation adds to one member's update."""
        ...
