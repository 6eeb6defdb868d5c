"""Signed ring values as packed little-endian bytes: two's complement in 4, 8, 12 or 16 bits.

4 bits: two values per byte, the first in the low nibble. 12 bits: two values in three bytes, the
first in the low 12 bits of the 24-bit little-endian number.
"""

from typing import Final

import numpy as np

from common.arrays import I32

WIDTHS: Final = (4, 8, 12, 16)


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
            low, high = values[0::2] & 0xF, values[1::2] & 0xF
            return (low | high << 4).astype(np.uint8).tobytes()
        case 12:
            pair = (values[0::2] & 0xFFF) | (values[1::2] & 0xFFF) << 12
            return pair.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    raise ValueError(f"a ring has 4, 8, 12 or 16 bits, not {bits}")


def unpack(content: bytes, bits: int) -> I32:
    """Return int32[8*len/bits]: the inverse of `pack`."""
    match bits:
        case 8:
            return np.frombuffer(content, np.int8).astype(np.int32)
        case 16:
            return np.frombuffer(content, "<i2").astype(np.int32)
        case 4:
            byte = np.frombuffer(content, np.uint8).astype(np.int32)
            return _interleaved(byte & 0xF, byte >> 4, sign_bit=0x8)
        case 12:
            wide = np.zeros((len(content) // 3, 4), np.uint8)
            wide[:, :3] = np.frombuffer(content, np.uint8).reshape(-1, 3)
            pair = wide.view("<u4").reshape(-1).astype(np.int32)
            return _interleaved(pair & 0xFFF, pair >> 12, sign_bit=0x800)
    raise ValueError(f"a ring has 4, 8, 12 or 16 bits, not {bits}")


def _interleaved(first: I32, second: I32, sign_bit: int) -> I32:
    values = np.empty(2 * len(first), np.int32)
    values[0::2] = first
    values[1::2] = second
    values ^= sign_bit
    values -= sign_bit
    return values
