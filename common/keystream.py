"""AES-128 in counter mode as bytes: for masks and tags, and for the noise of rounding.

Byte i of a stream lies in counter block `first + i // 16` modulo 2**128 (NIST SP 800-38A, 6.5 and
B.1), so any part can be made alone. That a key is used for one thing only is up to the caller.
"""

from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from common.arrays import U8, U64

KEY_BYTES: Final = 16

COUNTER_BYTES: Final = 16

TILE_BYTES: Final = 245760
"""A quarter of a shard: long enough that calls cost nothing, short enough to stay in the cache."""

_AES_BLOCK: Final = 16

_ZEROS: Final = memoryview(bytes(TILE_BYTES))


class Keystream:
    """AES-128-CTR output from any byte on.

    Not for two threads at once: it remembers where it stands, so that going on costs nothing.

    Args:
        key: 16 bytes.
        counter: the first counter block, 16 bytes big-endian.
    """

    def __init__(self, key: bytes, counter: bytes) -> None:
        if len(key) != KEY_BYTES or len(counter) != COUNTER_BYTES:
            raise ValueError(f"{len(key)} and {len(counter)} bytes, must be 16 and 16")
        self._first = int.from_bytes(counter, "big")
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
        self._position = 0

    def fill(self, out: U8, offset: int) -> None:
        """Write the stream's bytes from `offset` on over `out`, uint8[n], contiguous."""
        if offset != self._position:
            self._seek(offset)
        target = out.data
        for start in range(0, len(out), TILE_BYTES):
            part = target[start : start + TILE_BYTES]
            self._cipher.update_into(_ZEROS[: len(part)], part)
        self._position = offset + len(out)

    def integers(self, first: int, num: int) -> U64:
        """Return uint64[num]: the stream as little-endian integers, from index `first` on."""
        out = np.empty(8 * num, np.uint8)
        self.fill(out, 8 * first)
        return out.view("<u8")

    def _seek(self, offset: int) -> None:
        block, skipped = divmod(offset, _AES_BLOCK)
        counter = (self._first + block) % 2 ** (8 * COUNTER_BYTES)
        self._cipher.reset_nonce(counter.to_bytes(COUNTER_BYTES, "big"))
        self._cipher.update(_ZEROS[:skipped])
