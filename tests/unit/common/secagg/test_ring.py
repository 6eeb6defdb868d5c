import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.packing import pack
from common.scales import levels
from common.secagg.ring import Ring, Words

WIDTHS = (4, 8, 12, 16, 32)
NUM = 96  # fills whole words at every width


def packed(q: list[int] | np.ndarray, bits: int) -> bytes:
    values = np.array(q, np.int32)
    return values.astype("<i4").tobytes() if bits == 32 else pack(values, bits)


def values_of(bits: int, num: int = NUM) -> st.SearchStrategy[list[int]]:
    most = 2 ** (bits - 1)
    one = st.integers(-most, most - 1)
    return st.lists(one, min_size=num, max_size=num)


rings_and_values = st.sampled_from(WIDTHS).flatmap(
    lambda bits: st.tuples(st.just(bits), values_of(bits))
)


@given(rings_and_values)
def test_words_come_back_as_the_payload_they_were(case: tuple[int, list[int]]) -> None:
    bits, q = case
    ring, payload = Ring(bits), packed(q, bits)
    out = np.empty_like(ring.words(payload))

    assert ring.payload(ring.words(payload)) == payload
    assert ring.words(payload, out) is out
    assert ring.payload(out) == payload


@given(st.sampled_from(WIDTHS), st.data())
def test_a_sum_over_the_wire_is_the_plain_sum(bits: int, data: st.DataObject) -> None:
    ring = Ring(bits)
    num_members = data.draw(st.integers(1, 7))
    most = levels(bits, num_members)
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    members = draw.integers(-most, most + 1, (num_members, NUM))

    total = ring.empty_sum(NUM * bits // 8)
    for q in members:
        ring.add_received(total, ring.sent(ring.words(packed(q, bits))))

    assert ring.payload(total) == packed(np.sum(members, axis=0), bits)


@pytest.mark.parametrize("bits", WIDTHS)
@given(seed=st.integers(0, 2**32))
def test_any_word_survives_the_wire_up_to_the_bits_that_count(bits: int, seed: int) -> None:
    ring = Ring(bits)
    total = ring.empty_sum(NUM * bits // 8)
    words: Words = np.random.default_rng(seed).integers(0, 2**32, len(total)).astype(ring.word)

    ring.add_received(total, ring.sent(words))

    assert len(ring.sent(words)) == NUM * bits // 8
    kept = ring.word.type(2**12 - 1 if bits == 12 else 2 ** (8 * ring.word.itemsize) - 1)
    assert np.array_equal(total & kept, words & kept)


def test_twelve_bits_are_packed_as_the_codec_packs_them_whatever_the_length() -> None:
    ring = Ring(12)
    for num in (2, 4, 32, 4096, 65538, 655360):
        q = np.random.default_rng(num).integers(-2048, 2048, num).astype(np.int32)
        by_hand = (q[0::2] & 0xFFF | (q[1::2] & 0xFFF) << 12).astype("<u4")
        packed = by_hand.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
        words = ring.words(packed)
        assert pack(q, 12) == packed
        assert np.array_equal(words & 0xFFF, q & 0xFFF)
        assert ring.sent(words | 0xF000) == packed


def test_a_width_or_length_that_no_ring_has_is_refused() -> None:
    with pytest.raises(ValueError, match="not 6"):
        Ring(6)
    with pytest.raises(ValueError, match="no 12-bit pair"):
        Ring(12).stream_offset(16)
    with pytest.raises(ValueError, match="do not fill"):
        Ring(8).add_received(Ring(8).empty_sum(48), bytes(1))
    with pytest.raises(ValueError, match="two fill three bytes"):
        Ring(12).sent(np.zeros(3, np.uint16))
    with pytest.raises(ValueError, match="do not hold"):
        Ring(12).words(bytes(6), np.zeros(2, np.uint16))
