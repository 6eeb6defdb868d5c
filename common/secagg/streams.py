"""Key streams: AES-128 in counter mode under keys that HKDF-Expand makes from one seed.

    key, first counter block = HKDF-Expand-SHA256(seed, info, 32)
    info = fields(label(purpose), ...)                     common/secagg/labels.py

Byte i of a stream lies in counter block `first + i // 16` modulo 2**128 (NIST SP 800-38A, 6.5 and
B.1), so any shard can be made alone. Streams only derive and expand: that a seed is used for one
attempt only is up to the caller.
"""

from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from common.arrays import U8, U64
from common.secagg.labels import StreamPurpose, label
from common.secagg.labels import fields as length_prefixed

SEED_BYTES: Final = 32
KEY_BYTES: Final = 16
COUNTER_BYTES: Final = 16

TILE_BYTES: Final = 245760
"""A quarter of a shard: long enough that calls cost nothing, short enough to stay in the cache."""

_AES_BLOCK: Final = 16
_ZEROS: Final = memoryview(bytes(TILE_BYTES))


def expand(seed: bytes, info: bytes, num_bytes: int) -> bytes:
    """Return HKDF-Expand-SHA256 (RFC 5869, 2.3) of a seed, which stands for the PRK."""
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
    return HKDFExpand(SHA256(), num_bytes, info).derive(seed)


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


class Stream(Keystream):
    """The stream of one seed for one purpose; other purposes or fields give independent ones.

    Args:
        seed: 32 bytes, fresh per attempt.
        purpose: "data", "lanes" and "tag" for masks; `common/secagg/tags.py` has its own.
        fields: what else tells streams of one seed apart.
    """

    def __init__(self, seed: bytes, purpose: StreamPurpose, *fields: str) -> None:
        info = length_prefixed(label(purpose), *(field.encode() for field in fields))
        found = expand(seed, info, KEY_BYTES + COUNTER_BYTES)
        super().__init__(found[:KEY_BYTES], found[KEY_BYTES:])
