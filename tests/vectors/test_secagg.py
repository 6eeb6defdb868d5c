import hashlib
import hmac
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from common.arrays import U8
from common.ids import WorkerId
from common.keystream import Keystream
from common.secagg.labels import StreamPurpose
from common.secagg.masks import member_masks
from common.secagg.ring import Ring
from common.secagg.streams import Stream, expand
from common.secagg.tags import Pads, Tagger, member_tags
from common.shards import PayloadLayout

HERE = Path(__file__).parent
SEED = bytes(range(32))
PURPOSES: dict[str, StreamPurpose] = {p: p for p in get_args(StreamPurpose)}


def lines_of(name: str) -> list[str]:
    lines = (HERE / name).read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def taken(stream: Keystream, num: int, offset: int = 0) -> bytes:
    out: U8 = np.empty(num, np.uint8)
    stream.fill(out, offset)
    return out.tobytes()


def test_the_key_stream_is_that_of_nist() -> None:
    key, counter, *blocks = (bytes.fromhex(line) for line in lines_of("aes_128_ctr.txt"))
    known = b"".join(blocks)

    for offset in range(len(known)):
        assert taken(Keystream(key, counter), len(known) - offset, offset) == known[offset:]


@pytest.mark.parametrize("line", lines_of("hkdf_expand.txt"))
def test_expand_is_that_of_the_rfc(line: str) -> None:
    prk, info, okm = (bytes.fromhex(field.strip("-")) for field in line.split())

    assert expand(prk, info, len(okm)) == okm


@pytest.mark.parametrize("line", lines_of("secagg_streams.txt"))
def test_a_composed_stream_is_the_frozen_one_and_follows_from_hmac_and_single_blocks(
    line: str,
) -> None:
    known, *fields = line.split()
    label = [f"crosscloud/1/{fields[0]}", *fields[1:]]
    info = b"".join(len(f).to_bytes(4, "big") + f.encode() for f in label)
    okm = hmac.new(SEED, info + b"\x01", hashlib.sha256).digest()
    block = Cipher(algorithms.AES(okm[:16]), modes.ECB()).encryptor()
    first = int.from_bytes(okm[16:], "big")
    by_hand = b"".join(block.update(((first + i) % 2**128).to_bytes(16, "big")) for i in range(2))

    assert taken(Stream(SEED, PURPOSES[fields[0]], *fields[1:]), 32).hex() == known
    assert by_hand.hex() == known


@pytest.mark.parametrize("line", lines_of("secagg_member.txt"))
def test_one_members_masked_shard_and_tags_are_the_frozen_ones(line: str) -> None:
    bits, shard, masked, *tags = line.split()
    assert member_answer(int(bits), int(shard)) == (masked, *tags)


def member_answer(bits: int, shard: int) -> tuple[str, ...]:
    """Mask and tag a payload of counting bytes as member b of a, b, c."""
    names = [WorkerId(n) for n in "abc"]
    layout, ring = PayloadLayout(4096 * 8 * 240 // bits, bits), Ring(bits)
    offset, length = layout.shard(shard)
    payload = bytes(i % 251 if i >= 24 or i % 8 < 6 else 0 for i in range(length))
    pairs = {n: hashlib.sha256(n.encode()).digest() for n in ("a", "c")}
    masks = member_masks(ring, names[1], SEED, {WorkerId(n): s for n, s in pairs.items()})
    tagger = Tagger(layout, [bytes(32), SEED])
    tags = masks.add_tags(shard, member_tags(tagger, Pads(SEED, names), names[1], shard, payload))
    if offset >= layout.side_offset:
        content = np.frombuffer(payload, np.uint8).copy()
        masks.add_side_values(content, 0)
        sent = content.tobytes()
    else:
        words = ring.words(payload)
        masks.add(words, offset)
        sent = ring.sent(words)
    return hashlib.sha256(sent).hexdigest(), *(f"{t:016x}" for t in tags)
