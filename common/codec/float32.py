"""The float32 codec: every value as it is, no rotation, no residual. Only for the tls tier.

x = factor * difference
mean = ((0 + x_1) + x_2 + ...) * float32(65535/sum V)      survivors sorted by name
"""

import numpy as np

from common.arrays import F32, F64
from common.codec import Encoded, Total
from common.codec.noise import Noise
from common.errors import BadUpdateError
from common.packing import Writable
from common.scales import Scales, exact_squares
from common.schema import BLOCK
from common.weight import ONE

_LARGEST = np.float32(2.0**100)  # so that no sum overflows


class Float32:
    """One round's exact codec.

    Args:
        scales: of the round; they only measure the update here.
    """

    bits = 32
    keeps_residual = False

    def __init__(self, scales: Scales) -> None:
        self._radius = scales.radius

    def encoder(self, factor: float, decay: float, noise: Noise) -> "_Float32Encoder":
        """See `TileCodec`; `decay` and `noise` are not used."""
        return _Float32Encoder(self._radius.astype(np.float32), np.float32(factor))

    def total(self, num_blocks: int) -> Total:
        """See `TileCodec`."""
        return np.zeros(num_blocks * BLOCK, np.float32)

    def add(self, total: Total, payload: bytes) -> Total:
        """See `TileCodec`."""
        if len(payload) != 4 * len(total):
            raise BadUpdateError(f"{len(payload)} bytes, must be {4 * len(total)}")
        x = np.frombuffer(payload, "<f4")
        if not np.abs(x).max() <= _LARGEST:  # NaN too
            raise BadUpdateError("NaN, infinite or absurdly large values")
        total += x
        return total

    def pack(self, total: Total) -> bytes:
        """See `TileCodec`."""
        return total.astype("<f4").tobytes()

    def mean(self, first: int, last: int, payload: bytes, sum_v: int) -> F32:
        """See `TileCodec`."""
        mean = np.frombuffer(payload, "<f4").astype(np.float32).reshape(-1, BLOCK)
        mean *= np.float32(ONE / sum_v)
        return mean

    def squares(self, first: int, last: int, payload: bytes) -> F64:
        """See `TileCodec`."""
        return exact_squares(np.frombuffer(payload, "<f4").reshape(-1, BLOCK))

    def rounding_bound(self) -> float:
        """See `TileCodec`."""
        return 0.0


class _Float32Encoder:
    def __init__(self, radius: F32, factor: np.float32) -> None:
        self._radius, self._factor = radius, factor

    def encode(
        self, block: int, difference: F32, residual: F32 | None, payload: Writable
    ) -> Encoded:
        """See `TileEncoder`; `residual` is not used."""
        difference *= self._factor
        np.frombuffer(payload, "<f4")[:] = difference.reshape(-1)
        with np.errstate(over="ignore"):
            difference /= self._radius[block : block + len(difference), None]
            return Encoded(None, np.vecdot(difference, difference))
