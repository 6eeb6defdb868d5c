"""Key streams: AES-128 in counter mode under keys that HKDF-Expand makes from one seed.

    key, first counter block = HKDF-Expand-SHA256(seed, info, 32)
    info = fields(label(purpose), ...)                     common/secagg/labels.py

Any shard can be made alone (`common/keystream.py`). Streams only derive and expand: that a seed is
used for one attempt only is up to the caller.
"""

from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from common.keystream import COUNTER_BYTES, KEY_BYTES, Keystream
from common.secagg.labels import StreamPurpose, label
from common.secagg.labels import fields as length_prefixed

SEED_BYTES: Final = 32


def expand(seed: bytes, info: bytes, num_bytes: int) -> bytes:
    """Return HKDF-Expand-SHA256 (RFC 5869, 2.3) of a seed, which stands for the PRK."""
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
    return HKDFExpand(SHA256(), num_bytes, info).derive(seed)


class Stream(Keystream):
    """The stream of one seed for one purpose; other purposes or fields give independent ones.

    Args:
        seed: 32 bytes, fresh per attempt.
        purpose: "data", "side-values" and "tag" for masks; `common/secagg/tags.py` has its own.
        fields: what else tells streams of one seed apart.
    """

    def __init__(self, seed: bytes, purpose: StreamPurpose, *fields: str) -> None:
        info = length_prefixed(label(purpose), *(field.encode() for field in fields))
        found = expand(seed, info, KEY_BYTES + COUNTER_BYTES)
        super().__init__(found[:KEY_BYTES], found[KEY_BYTES:])
