import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from common.keystream import TILE_BYTES, Keystream
from common.secagg.streams import Stream

SEED = bytes(range(32))


def taken(stream: Keystream, offset: int, num: int) -> bytes:
    out = np.empty(num, np.uint8)
    stream.fill(out, offset)
    return out.tobytes()


WHOLE = taken(Stream(SEED, "data"), 0, 3 * TILE_BYTES)


@given(st.lists(st.tuples(st.integers(0, 2 * TILE_BYTES), st.integers(0, TILE_BYTES)), max_size=6))
def test_any_part_is_that_of_the_whole_in_any_order(parts: list[tuple[int, int]]) -> None:
    stream = Stream(SEED, "data")

    for offset, num in parts:
        assert taken(stream, offset, num) == WHOLE[offset : offset + num]


def test_going_on_after_a_broken_block_goes_on_in_its_middle() -> None:
    stream = Stream(SEED, "data")

    assert taken(stream, 5, 2) + taken(stream, 7, 30) == WHOLE[5:37]


@given(st.integers(0, 2**128 - 1), st.integers(0, 100))
def test_the_counter_wraps_as_128_bits(first: int, block: int) -> None:
    key = bytes(16)
    ecb = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    known = ecb.update(((first + block) % 2**128).to_bytes(16, "big"))

    assert taken(Keystream(key, first.to_bytes(16, "big")), 16 * block, 16) == known


def test_the_counter_wraps_within_one_piece_as_well() -> None:
    key, last = bytes(16), b"\xff" * 16

    both = taken(Keystream(key, last), 0, 32)

    assert both[16:] == taken(Keystream(key, bytes(16)), 0, 16)


def test_a_stream_past_2_to_the_40_bytes_can_be_had_at_once() -> None:
    stream = Stream(SEED, "data")

    assert taken(stream, 2**40 + 16, 16) == taken(stream, 2**40, 32)[16:]


def test_purposes_fields_and_seeds_give_other_streams() -> None:
    streams = [
        Stream(SEED, "data"),
        Stream(SEED, "side-values"),
        Stream(SEED, "tag"),
        Stream(SEED[::-1], "data"),
        Stream(SEED, "tag-pad", "a", "bc"),
        Stream(SEED, "tag-pad", "ab", "c"),
        Stream(SEED, "tag-pad", "abc"),
    ]

    assert len({taken(s, 0, 32) for s in streams}) == len(streams)


def test_integers_are_little_endian() -> None:
    found = Stream(SEED, "data").integers(3, 2)

    assert found.tolist() == [
        int.from_bytes(WHOLE[24:32], "little"),
        int.from_bytes(WHOLE[32:40], "little"),
    ]


def test_seeds_keys_and_counters_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Stream(SEED[:-1], "data")
    with pytest.raises(ValueError, match="must be 16 and 16"):
        Keystream(bytes(32), bytes(16))


def test_no_secret_shows() -> None:
    stream = Stream(SEED, "data")

    assert SEED.hex() not in repr(stream)
    assert repr(vars(stream)).count("b'") == 0
