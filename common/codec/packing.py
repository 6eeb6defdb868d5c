"""Signed ring values as packed little-endian bytes: two's complement in 4, 8, 12 or 16 bits.

4 bits: two values per byte, the first in the low nibble. 12 bits: two values in three bytes, the
first in the low 12 bits of the 24-bit little-endian number.
"""

from typing import Final

import numpy as np

from common.arrays import I32

WIDTHS: Final = (4, 8, 12, 16)

_BYTES: Final = np.arange(256, dtype=np.int32)
_NIBBLES: Final = (np.stack([_BYTES & 0xF, _BYTES >> 4], axis=1) ^ 0x8) - 0x8
"""Both values of each byte, int32[256, 2]."""


def pack(values: I32, bits: int) -> bytes:
    """Return the packed bytes.

    Args:
        values: int32[n], n even, each in [-2**(bits-1), 2**(bits-1) - 1].
        bits: one of `WIDTHS`.
    """
    match bits:
        case 8:
            return values.astype(np.int8).tobytes()
        case 16:
            return values.astype("<i2").tobytes()
        case 4:
            pair = values.astype("<i1").view("<u2")  # the first in the low byte
            return (pair & 0xF | pair >> 4 & 0xF0).astype(np.uint8).tobytes()
        case 12:
            first, second = values.astype(np.uint16).reshape(-1, 2).T
            content = np.empty((len(first), 3), np.uint8)  # takes the low byte of each
            content[:, 0] = first
            content[:, 1] = first >> 8 & 0xF | second << 4
            content[:, 2] = second >> 4
            return content.tobytes()
    raise ValueError(f"a ring has 4, 8, 12 or 16 bits, not {bits}")


def unpack(content: bytes, bits: int) -> I32:
    """Return int32[8*len/bits]: the inverse of `pack`."""
    match bits:
        case 8:
            return np.frombuffer(content, np.int8).astype(np.int32)
        case 16:
            return np.frombuffer(content, "<i2").astype(np.int32)
        case 4:
            return np.take(_NIBBLES, np.frombuffer(content, np.uint8), axis=0).reshape(-1)
        case 12:
            low, middle, high = np.frombuffer(content, np.uint8).reshape(-1, 3).T.astype(np.int16)
            values = np.empty((len(low), 2), np.int16)  # in the upper 12 bits, for their sign
            values[:, 0] = middle << 12 | low << 4
            values[:, 1] = high << 8 | middle & 0xF0
            values >>= 4
            return values.reshape(-1).astype(np.int32)
    raise ValueError(f"a ring has 4, 8, 12 or 16 bits, not {bits}")
