"""Signed ring values as packed little-endian bytes: two's complement in 4, 8, 12 or 16 bits.

4 bits: two values per byte, the first in the low nibble. 12 bits: two values in three bytes, the
first in the low 12 bits of the 24-bit little-endian number.
"""

from typing import Any, Final

import numpy as np

from common.arrays import I16, U8, U16, Ring

WIDTHS: Final = (4, 8, 12, 16)

_BYTES: Final = np.arange(256, dtype=np.int16)
_NIBBLES: Final = np.stack([_BYTES & 0xF, _BYTES >> 4], axis=1)
_PAIRS: Final = ((_NIBBLES ^ 0x8) - 0x8).astype(np.int8).view(np.uint16).reshape(-1)
"""Both values of each byte, int8[2], seen as one uint16[256]."""

_TILE: Final = 65536  # 12-bit values: temporaries stay in the cache, calls cost little

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
            high = pair >> 4
            high &= 0xF0
            pair &= 0x0F
            pair |= high
            np.copyto(np.frombuffer(out, np.uint8), pair, casting="unsafe")
        case 12:
            pack12(values, np.frombuffer(out, np.uint8))
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
            packed = np.frombuffer(content, np.uint8)
            words = np.empty(len(packed) // 3 * 2, "<u2")
            return signed12(unpack12(packed, words), words)
    raise ValueError(f"a ring has 4, 8, 12 or 16 bits, not {bits}")


def pack12(values: U16 | Ring, out: U8) -> None:
    """Write the lower 12 bits of each value.

    Args:
        values: [n] integers, n even.
        out: uint8[3*n/2], contiguous.
    """
    if len(values) % 2 or len(out) * 2 != len(values) * 3:
        raise ValueError(f"{len(values)} values of 12 bits, {len(out)} bytes: two fill three bytes")
    whole = len(values) - len(values) % 4
    if whole < len(values):
        first, second = (int(value) & 0xFFF for value in values[-2:])
        out[-3:] = np.frombuffer((first | second << 12).to_bytes(3, "little"), np.uint8)
    rows = out[: whole * 3 // 2].view("<u2").reshape(-1, 3)
    scratch = np.empty((2, min(_TILE, whole) // 4), "<u8")
    for start in range(0, whole, _TILE):
        stop = min(start + _TILE, whole)
        low, high = scratch[:, : (stop - start) // 4]
        columns = low.view("<u2").reshape(-1, 4)
        np.copyto(columns.reshape(-1), values[start:stop], casting="unsafe")
        # Four words of 16 bits each: then two of 24 bits, then one of 48.
        np.right_shift(low, 4, out=high)
        high &= 0x00FF_F000_00FF_F000
        low &= 0x0000_0FFF_0000_0FFF
        low |= high
        np.right_shift(low, 8, out=high)
        high &= 0xFFFF_FF00_0000
        low &= 0xFF_FFFF
        low |= high
        for i in range(3):
            rows[start // 4 : stop // 4, i] = columns[:, i]


def unpack12(packed: U8, out: U16) -> U16:
    """Return `out`, filled with the values as they are packed: their upper four bits are zero.

    Args:
        packed: uint8[3*n/2], contiguous.
        out: uint16[n], n even, little-endian, contiguous.
    """
    if len(packed) % 3 or len(packed) * 2 != len(out) * 3:
        raise ValueError(f"{len(packed)} bytes do not hold {len(out)} values of 12 bits")
    pairs = out.view("<u4")
    last = len(pairs) - 1  # 32 bits are read where 24 are meant: not beyond the end
    scratch = np.empty(min(_TILE // 2, len(pairs)), "<u4")
    if last > 0:
        np.copyto(pairs[:last], np.ndarray(last, "<u4", packed, 0, (3,)))
    pairs[last:] = int.from_bytes(packed[-3:].tobytes(), "little")
    for start in range(0, len(pairs), _TILE // 2):
        part = pairs[start : start + _TILE // 2]
        high = np.left_shift(part, 4, out=scratch[: len(part)])
        high &= 0x0FFF_0000
        part &= 0x0000_0FFF
        part |= high
    return out


def signed12(words: U16, out: U16) -> I16:
    """Return the signed values in the lower 12 bits of words: a view of `out`.

    Args:
        words: uint16[n], little-endian.
        out: uint16[n], little-endian; may be `words`.
    """
    np.left_shift(words, 4, out=out)
    signed = out.view("<i2")
    signed >>= 4
    return signed
