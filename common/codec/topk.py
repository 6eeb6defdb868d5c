"""The topk codec: of each block the k largest values, a place and two bits each. Only tls tier.

    y  = factor * difference + carried                       not rotated: its tail is what counts
    picked = the k largest |y|                               k = BLOCK / one_in
    high, low = means of the larger and the smaller half of |y[picked]|, by size, as float16*r_B
    e' = y - what was sent                                   all of y that was not picked

A block is sent in (l + 4)*k/8 + 4 bytes, l = log2(one_in): positions by Elias (1974) and Fano
(1971), the lower l bits of each and the upper ones in unary, 2k bits together; one bit for the sign
and one for high; both magnitudes. An aggregate holds the survivors' blocks beside each other, in
order of their names: positions differ, so it is as long as they are together. The mean adds them
in that order.
"""

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from common.arrays import F32, F64, U8
from common.codec import Encoded, Total
from common.codec.noise import Noise
from common.errors import BadUpdateError, ConfigError
from common.packing import Writable
from common.scales import Scales, exact_squares
from common.schema import BLOCK
from common.weight import ONE

BITS: Final = 2
"""Of a picked value."""

ONE_IN: Final = (16, 32, 64, 128, 256)
"""Values per picked one."""

_SCALES: Final = np.dtype("<f2")
_SCALE_BYTES: Final = 2 * _SCALES.itemsize
LARGEST: Final = float(np.finfo(_SCALES).max)
"""Magnitude of a value in units of r_B, at most."""

Positions = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def block_bytes(one_in: int) -> int:
    """Return the wire bytes of one block."""
    return (one_in.bit_length() - 1 + 4) * (BLOCK // one_in) // 8 + _SCALE_BYTES


class TopK:
    """One round's codec.

    Args:
        one_in: values per picked one, of `ONE_IN`.
        scales: of the round, of all blocks.
    """

    keeps_residual = True
    bits = BITS

    def __init__(self, one_in: int, scales: Scales) -> None:
        if one_in not in ONE_IN:
            raise ConfigError(f"topk picks one in {', '.join(map(str, ONE_IN))}, not in {one_in}")
        self.num_picked = BLOCK // one_in
        self.low_bits = one_in.bit_length() - 1
        self.block_bytes = block_bytes(one_in)
        self.radius: F32 = scales.radius.astype(np.float32)

    def encoder(self, factor: float, decay: float, noise: Noise) -> "_TopkEncoder":
        """See `TileCodec`; `noise` is not used."""
        return _TopkEncoder(self, np.float32(factor), np.float32(decay))

    def total(self, num_blocks: int) -> Total:
        """See `TileCodec`: uint8[survivors so far, num_blocks, block_bytes]."""
        return np.empty((0, num_blocks, self.block_bytes), np.uint8)

    def add(self, total: Total, payload: bytes) -> Total:
        """See `TileCodec`."""
        blocks = total.shape[1]
        if len(payload) != blocks * self.block_bytes:
            raise BadUpdateError(f"{len(payload)} bytes, must be {blocks * self.block_bytes}")
        own = np.frombuffer(payload, np.uint8).reshape(blocks, self.block_bytes)
        self._decoded(own)  # refuses what no honest member sends
        return np.concatenate([total, own[None]])

    def pack(self, total: Total) -> bytes:
        """See `TileCodec`."""
        return total.transpose(1, 0, 2).tobytes()

    def mean(self, first: int, last: int, payload: bytes, sum_v: int) -> F32:
        """See `TileCodec`."""
        mean = self._sum(first, last, payload)
        mean *= np.float32(ONE / sum_v)
        return mean

    def squares(self, first: int, last: int, payload: bytes) -> F64:
        """See `TileCodec`."""
        return exact_squares(self._sum(first, last, payload))

    def rounding_bound(self) -> float:
        """See `TileCodec`: a mean is no longer than what it stands for, but for float16's steps."""
        return math.sqrt(BLOCK * math.fsum((self.radius.astype(np.float64) ** 2).tolist())) / 2**24

    def encoded(self, positions: Positions, negative: Flags, high: Flags, sizes: Any) -> U8:
        """Return blocks as they are sent, uint8[n, block_bytes].

        Args:
            positions: int64[n, k], ascending in each row.
            negative: bool[n, k].
            high: bool[n, k].
            sizes: high's and low's magnitude in units of r_B, float16[n, 2].
        """
        n, k = positions.shape
        bits = np.zeros((n, (self.low_bits + 4) * k), np.uint8)
        lower, upper, signs, highs = self._parts(bits)
        shifts = np.arange(self.low_bits)
        lower.reshape(n, k, self.low_bits)[:] = positions[:, :, None] >> shifts & 1
        np.put_along_axis(upper, (positions >> self.low_bits) + np.arange(k), 1, axis=1)
        signs[:], highs[:] = negative, high
        packed = np.packbits(bits, axis=1, bitorder="little")
        return np.hstack([packed, sizes.astype(_SCALES).view(np.uint8)])

    def _decoded(self, content: U8) -> tuple[Positions, F32]:
        """Return positions, int64[n, k], and values in units of r_B, float32[n, k].

        Raises:
            BadUpdateError: nobody encodes like this.
        """
        n, k = len(content), self.num_picked
        bits = np.unpackbits(content[:, :-_SCALE_BYTES], axis=1, bitorder="little")
        lower, upper, signs, highs = self._parts(bits)
        if (upper.sum(axis=1, dtype=np.int64) != k).any():
            raise BadUpdateError(f"a block does not have {k} positions")
        positions = np.nonzero(upper)[1].reshape(n, k) - np.arange(k) << self.low_bits
        positions += lower.reshape(n, k, self.low_bits) @ (1 << np.arange(self.low_bits))
        if (np.diff(positions, axis=1) <= 0).any():
            raise BadUpdateError("a block's positions do not ascend")
        sizes = np.ascontiguousarray(content[:, -_SCALE_BYTES:]).view(_SCALES).astype(np.float32)
        if not ((sizes >= 0) & (sizes <= LARGEST)).all():  # NaN too
            raise BadUpdateError("a block's magnitude is negative, NaN or infinite")
        values = np.where(highs, sizes[:, :1], sizes[:, 1:])
        np.negative(values, out=values, where=signs.astype(bool))
        return positions, values

    def _parts(self, bits: U8) -> list[U8]:
        """Return views of the lower bits, the upper ones in unary, signs, and which are high."""
        k = self.num_picked
        return np.split(bits, np.cumsum([self.low_bits * k, 2 * k, k]), axis=1)

    def _sum(self, first: int, last: int, payload: bytes) -> F32:
        """Return the sum of the survivors' blocks, added in their order, float32[n, BLOCK]."""
        content = np.frombuffer(payload, np.uint8).reshape(-1, self.block_bytes)
        blocks = content.reshape(last - first, -1, self.block_bytes)
        radius = self.radius[first:last, None]
        total = np.zeros((len(blocks), BLOCK), np.float32)
        rows = np.arange(len(blocks))[:, None]
        for survivor in range(blocks.shape[1]):
            positions, values = self._decoded(blocks[:, survivor])
            total[rows, positions] += values * radius  # no position twice: all are added
        return total


class _TopkEncoder:
    """Works in one buffer of one tile."""

    def __init__(self, codec: TopK, factor: np.float32, decay: np.float32) -> None:
        self._codec, self._factor, self._decay = codec, factor, decay
        self._y: F32 = np.empty((0, BLOCK), np.float32)

    def encode(
        self, block: int, difference: F32, residual: F32 | None, payload: Writable
    ) -> Encoded:
        """See `TileEncoder`."""
        codec, num_blocks = self._codec, len(difference)
        if len(self._y) < num_blocks:
            self._y = np.empty_like(difference)
        y = self._y[:num_blocks]
        np.multiply(difference, self._factor, out=y)
        if residual is not None:
            y += np.multiply(residual, self._decay, out=difference)
        radius = codec.radius[block : block + num_blocks, None]
        with np.errstate(over="ignore"):
            scaled = np.divide(y, radius, out=difference)
            square: F32 = np.vecdot(scaled, scaled)
        positions = _largest(np.abs(scaled), codec.num_picked)
        picked: F32 = np.take_along_axis(y, positions, axis=1)
        high, sizes = _levels(np.take_along_axis(np.abs(scaled), positions, axis=1))
        negative = np.signbit(picked)
        content = codec.encoded(positions, negative, high, sizes)
        np.frombuffer(payload, np.uint8)[:] = content.reshape(-1)
        sent = np.where(high, sizes[:, :1], sizes[:, 1:]).astype(np.float32) * radius
        np.put_along_axis(y, positions, picked - np.where(negative, -sent, sent), axis=1)
        return Encoded(y, square)


def _largest(sizes: F32, num: int) -> Positions:
    """Return where the largest values of each row lie, ascending, int64[n, num]."""
    split = sizes.shape[1] - num
    return np.sort(np.argpartition(sizes, split, axis=1)[:, split:], axis=1)


def _levels(sizes: F32) -> tuple[Flags, Any]:
    """Return which sizes are high, bool[n, k], and both means, float16[n, 2].

    One of Lloyd's (1982) iterations from the mean: the boundary lies half-way between the levels.
    """
    sizes = np.minimum(sizes, np.float32(LARGEST))
    boundary = sizes.mean(axis=1, keepdims=True)
    for _ in range(2):
        high = sizes > boundary
        count = high.sum(axis=1, keepdims=True)
        upper = np.where(high, sizes, 0).sum(axis=1, keepdims=True) / np.maximum(count, 1)
        lower = np.where(high, 0, sizes).sum(axis=1, keepdims=True)
        lower /= np.maximum(sizes.shape[1] - count, 1)
        boundary = (upper + lower) / 2
    return high, np.hstack([upper, lower]).astype(_SCALES)
