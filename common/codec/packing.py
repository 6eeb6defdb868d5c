"""Signed ring values as packed little-endian bytes: two's complement in 4, 8, 12 or 16 bits.

4 bits: two values per byte, the first in the low nibble. 12 bits: two values in three bytes, the
first in the low 12 bits of the 24-bit little-endian number.
"""

from typing import Any, Final

import numpy as np

from common.arrays import Ring

WIDTHS: Final = (4, 8, 12, 16)

_BYTES: Final = np.arange(256, dtype=np.int16)
_NIBBLES: Final = np.stack([_BYTES & 0xF, _BYTES >> 4], axis=1)
_PAIRS: Final = ((_NIBBLES ^ 0x8) - 0x8).astype(np.int8).view(np.uint16).reshape(-1)
"""Both values of each byte, int8[2], seen as one uint16[256]."""

Writable = bytearray | memoryview


def ring_dtype(bits: int) -> np.dtype[np.signedinteger[Any]]:
    """Return the narrowest type that holds a ring's values."""
    return np.dtype(np.int8 if bits <= 8 else np.int16)


def pack(values: Ring, bits: int) -> bytes:
    """Return the packed bytes, see `pack_into`."""
    out = bytearray(values.size * bits // 8)
    pack_into(values, bits, out)
    return bytes(out)


def pack_into(values: Ring, bits: int, out: Writable) -> None:
    """Write the packed bytes.

    Args:
        values: [n], n even, each in [-2**(bits-1), 2**(bits-1) - 1].
        bits: one of `WIDTHS`.
        out: n*bits/8 bytes.
    """
    match bits:
        case 8:
            np.copyto(np.frombuffer(out, np.int8), values, casting="unsafe")
        case 16:
            np.copyto(np.frombuffer(out, "<i2"), values, casting="unsafe")
        case 4:
            pair = values.astype("<i1").view("<u2")  # the first in the low byte
            np.copyto(np.frombuffer(out, np.uint8), pair & 0xF | pair >> 4 & 0xF0, casting="unsafe")
        case 12:
            first, second = np.ascontiguousarray(values.astype(np.uint16).reshape(-1, 2).T)
            content = np.frombuffer(out, np.uint8).reshape(-1, 3)  # takes the low byte of each
            np.copyto(content[:, 0], first, casting="unsafe")
            np.copyto(content[:, 1], first >> 8 & 0xF | second << 4, casting="unsafe")
            np.copyto(content[:, 2], second >> 4, casting="unsafe")
        case _:
            raise ValueError(f"a ring has 4, 8, 12 or 16 bits, not {bits}")


def unpack(content: bytes | memoryview, bits: int) -> Ring:
    """Return [8*len/bits] of `ring_dtype`: the inverse of `pack`. May be a view of `content`."""
    match bits:
        case 8:
            return np.frombuffer(content, np.int8)
        case 16:
            return np.frombuffer(content, "<i2").astype(np.int16, copy=False)
        case 4:
            return np.take(_PAIRS, np.frombuffer(content, np.uint8)).view(np.int8)
        case 12:
            low, middle, high = np.frombuffer(content, np.uint8).reshape(-1, 3).T.astype(np.int16)
            values = np.empty((len(low), 2), np.int16)  # in the upper 12 bits, for their sign
            values[:, 0] = middle << 12 | low << 4
            values[:, 1] = high << 8 | middle & 0xF0
            values >>= 4
            return values.reshape(-1)
    raise ValueError(f"a ring has 4, 8, 12 or 16 bits, not {bits}")
