"""Noise for stochastic rounding: uniform 16-bit integers, seekable, from AES-128 in counter mode.

Value i of an update takes bytes 2i and 2i + 1 (little-endian, signed) of the stream whose first
counter block is zero: so any tile can be encoded alone, and encoded again to the same bytes.
"""

import numpy as np

from common.arrays import I16, U8
from common.keystream import COUNTER_BYTES, Keystream


class Noise:
    """One attempt's noise.

    Args:
        key: 16 random bytes, fresh per attempt; forgotten with it.
    """

    def __init__(self, key: bytes) -> None:
        self._stream = Keystream(key, bytes(COUNTER_BYTES))
        self._buffer: U8 = np.empty(0, np.uint8)

    def uniform(self, start: int, num: int) -> I16:
        """Return int16[num] for the values from index `start` on; it is valid until the next call.

        Args:
            start: index of the first value.
            num: of values.
        """
        if len(self._buffer) < 2 * num:
            self._buffer = np.empty(2 * num, np.uint8)
        content = self._buffer[: 2 * num]
        self._stream.fill(content, 2 * start)
        return content.view("<i2")
