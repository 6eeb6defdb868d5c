"""Noise for stochastic rounding: uniform 16-bit integers, seekable, from AES-128 in counter mode.

Value i of an update takes bytes 2i and 2i + 1 (little-endian) of the stream whose first counter
block is zero: so any tile can be encoded alone, and encoded again to the same bytes.
"""

from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from common.arrays import U16

KEY_BYTES: Final = 16
_AES_BLOCK: Final = 16


class Noise:
    """One attempt's noise.

    Args:
        key: 16 random bytes, fresh per attempt; forgotten with it.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a noise key has {KEY_BYTES} bytes, not {len(key)}")
        self._cipher = algorithms.AES(key)
        self._next = -1  # where the stream stands: tiles that follow each other go on with it
        self._zeros = b""
        self._stream = bytearray()

    def uniform(self, start: int, num: int) -> U16:
        """Return uint16[num] for the values from index `start` on; it is valid until the next call.

        Args:
            start: a multiple of 8.
            num: a multiple of 8 where the next call goes on from there.
        """
        if start != self._next:
            assert start % (_AES_BLOCK // 2) == 0
            counter = (2 * start // _AES_BLOCK).to_bytes(_AES_BLOCK, "big")
            self._encryptor = Cipher(self._cipher, modes.CTR(counter)).encryptor()
        if len(self._zeros) != 2 * num:
            self._zeros = bytes(2 * num)
            self._stream = bytearray(2 * num + _AES_BLOCK)  # `update_into` wants room for one more
        self._encryptor.update_into(self._zeros, self._stream)
        self._next = start + num
        return np.frombuffer(self._stream, "<u2", num)
