"""Names for the array types that cross our functions. Every array is C-contiguous."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]

Content = bytes | bytearray | memoryview | U8
"""Packed bytes that are only read."""

Ring = npt.NDArray[np.signedinteger[Any]]
"""Values of a ring, in the narrowest signed integers that hold them or in wider ones."""

_SHORT_LOOP: Final = 2048
_CACHE_LINE: Final = 64  # bytes

ReadValues = Callable[[int, int], F32]
"""(start, stop) -> float32[stop - start] of a flat vector; need not be writable."""

WriteValues = Callable[[int, F32], None]
"""(start, values): store float32 values of a flat vector from index `start` on."""

ReadBytes = Callable[[int, int], bytes]
"""(offset, length) -> that many bytes of a file."""


def aligned(num: int) -> F32:
    """Return float32[num] that begins where a cache line does: no vector lies in two of them."""
    values = np.empty(num + _CACHE_LINE // 4, np.float32)
    first = -values.ctypes.data % _CACHE_LINE // 4
    return values[first : first + num]


def shorten_loops() -> None:
    """Let numpy work in loops that fit the first-level cache, until the `with np.errstate()` ends.

    Without it, one row or column of factors for many blocks is first copied out to 8192 values, and
    so is what an operation casts: up to ten times the time. The bits are the same.
    """
    np.setbufsize(_SHORT_LOOP)
