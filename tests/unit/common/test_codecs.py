from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.arrays import I16
from common.codec import TileCodec
from common.codec.dense import Dense
from common.codec.float32 import Float32
from common.codec.loops import rotate
from common.codec.noise import Noise
from common.errors import BadUpdateError, ConfigError
from common.packing import pack, unpack
from common.rotation import rotation_signs
from common.scales import energy, round_scales
from common.schema import BLOCK

SIGNS = rotation_signs(5)
NOISE = Noise(bytes(range(16)))
ROOT_MEAN_SQUARE = 0.01
ENERGY_CAP = (2**31 - 1) // 4


def dense(
    bits: int, num_members: int, num_blocks: int = 2, unit: float = ROOT_MEAN_SQUARE
) -> Dense:
    scales = round_scales(np.ones(num_blocks, np.float32), unit, num_members)
    return Dense(bits, num_members, 3.5, scales, SIGNS)


def draw(seed: int, num_blocks: int = 2, size: float = ROOT_MEAN_SQUARE) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((num_blocks, BLOCK))
    return (size * values).astype(np.float32)


class Sent(NamedTuple):
    payload: bytes
    residual: np.ndarray | None
    energy: np.ndarray


def encode(
    codec: TileCodec,
    difference: np.ndarray,
    factor: float = 1.0,
    carried: np.ndarray | None = None,
    noise: Noise = NOISE,
    block: int = 0,
) -> Sent:
    payload = bytearray(difference.size * codec.bits // 8)
    tile = codec.encoder(factor, 1.0, noise).encode(block, difference.copy(), carried, payload)
    return Sent(bytes(payload), tile.residual, energy(tile.square, ENERGY_CAP))


def step_of(codec: Dense) -> float:
    return min(3.5, 2.0 if codec.levels <= 2 else 3.5) * ROOT_MEAN_SQUARE / codec.levels


@given(
    st.sampled_from([4, 8, 12, 16]),
    st.lists(st.integers(-(2**15), 2**15 - 1), max_size=20).map(lambda v: v + v),
)
def test_packed_values_come_back_as_they_were(bits: int, values: list[int]) -> None:
    low = 2 ** (bits - 1)
    q = np.array([(v + low) % (2 * low) - low for v in values], np.int32)

    content = pack(q, bits)

    assert len(content) == len(q) * bits // 8
    assert np.array_equal(unpack(content, bits), q)


def test_packing_has_the_byte_order_that_the_page_says() -> None:
    assert pack(np.array([1, -2], np.int32), 4) == b"\xe1"
    assert pack(np.array([0x123, -2], np.int32), 12) == b"\x23\xe1\xff"
    assert pack(np.array([-2, 1], np.int32), 16) == b"\xfe\xff\x01\x00"


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([(4, 2), (4, 4), (8, 4), (12, 4), (16, 8)]), st.integers(0, 2**32))
def test_what_the_payload_lacks_is_exactly_the_residual(ring: tuple[int, int], seed: int) -> None:
    """Error feedback (Seide et al. 2014): what quantising leaves out is added next time."""
    codec = dense(*ring)
    carried = draw(seed + 1, size=0.003)

    encoded = encode(codec, draw(seed), 0.5, carried, Noise(seed.to_bytes(16, "big")))

    y = rotate(draw(seed), SIGNS * np.float32(0.5)) + carried
    q = unpack(encoded.payload, codec.bits).reshape(y.shape).astype(np.float32)
    step = np.float32(step_of(codec))
    assert encoded.residual is not None
    assert np.abs(q).max() <= codec.levels
    assert encoded.residual.tobytes() == (y - q * step).tobytes()
    inside = np.abs(y) < codec.levels * step
    assert np.abs(encoded.residual[inside]).max() <= step * (1 + 1e-4)


def test_stochastic_rounding_is_unbiased() -> None:
    """Suresh et al. 2017, stochastic k-level quantisation of rotated values: the mean is exact."""
    codec = dense(8, 4)
    total = np.zeros((1, BLOCK))
    num = 200

    for i in range(num):
        encoded = encode(codec, draw(3, 1), noise=Noise(i.to_bytes(16, "big")))
        total += unpack(encoded.payload, 8).reshape(1, BLOCK) * step_of(codec)

    error = total / num - np.clip(
        rotate(draw(3, 1), SIGNS), *(31 * step_of(codec) * np.array([-1, 1]))
    )
    assert np.abs(error).max() < 5 * 0.5 * step_of(codec) / np.sqrt(num)
    assert abs(error.mean()) < 4 * 0.5 * step_of(codec) / np.sqrt(num * BLOCK)


class EveryNoise(Noise):
    """Each of its 65536 values once."""

    def uniform(self, start: int, num: int) -> I16:
        assert num == 2**16
        return np.arange(-(2**15), 2**15, dtype=np.int16)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([(4, 2), (8, 2), (8, 4), (12, 4), (16, 4)]),
    st.floats(-1, 1) | st.integers(-16, 16).map(lambda n: n / 16),
)
@example((8, 4), 1 / 31)
@example((8, 4), 0.5 / 31)
def test_over_all_noise_the_mean_is_the_value_to_within_one_noise_step(
    ring: tuple[int, int], part: float
) -> None:
    codec = dense(*ring, num_blocks=16)
    wanted = np.float32(part * codec.levels * step_of(codec))
    carried = np.full((16, BLOCK), wanted)
    nothing = np.zeros((16, BLOCK), np.float32)

    encoded = encode(codec, nothing, carried=carried, noise=EveryNoise(bytes(16)))

    mean = unpack(encoded.payload, codec.bits).mean()
    in_steps = min(max(float(wanted) / step_of(codec), -codec.levels), codec.levels)
    assert abs(mean - in_steps) <= 2**-16 + 2**-22 * codec.levels


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([(8, 4, 0.12), (12, 4, 0.008), (16, 4, 5e-4)]), st.integers(0, 2**32))
def test_the_mean_of_a_cohort_is_close_to_the_true_mean(
    ring: tuple[int, int, float], seed: int
) -> None:
    bits, num, tolerance = ring
    codec = dense(bits, num)
    total = codec.total(2)

    for i in range(num):
        noise = Noise((seed + i).to_bytes(16, "big"))
        codec.add(total, encode(codec, draw(seed + i), 0.5, noise=noise).payload)
    mean = codec.mean(0, 2, codec.pack(total), num * 65535)

    true = sum(draw(seed + i).astype(np.float64) * 0.5 for i in range(num)) / num
    assert np.linalg.norm(mean - true) < tolerance * np.linalg.norm(true)


@pytest.mark.parametrize("ring", [(4, 4), (4, 7), (8, 8), (12, 64), (16, 64)])
def test_a_cohort_of_saturated_members_does_not_wrap(ring: tuple[int, int]) -> None:
    codec = dense(*ring, 1)
    huge = np.zeros((1, BLOCK), np.float32)
    huge[0, 0] = 1e15
    total = codec.total(1)

    for _ in range(ring[1]):
        codec.add(total, encode(codec, huge).payload)

    assert np.array_equal(np.abs(total), np.full(BLOCK, ring[1] * codec.levels))
    assert np.array_equal(unpack(codec.pack(total), ring[0]), total)


@pytest.mark.parametrize("bits", [4, 8, 12, 16])
def test_zeros_stay_zeros(bits: int) -> None:
    codec = dense(bits, 3)

    encoded = encode(codec, np.zeros((2, BLOCK), np.float32))

    assert not any(encoded.payload)
    assert encoded.residual is not None
    assert not encoded.residual.any()
    assert encoded.energy.tolist() == [0, 0]


@pytest.mark.parametrize("value", [1e18, -1e18, 1e-30, 1e-42, 5e-45])
def test_huge_tiny_and_denormal_constants_keep_the_books(value: float) -> None:
    codec = dense(8, 4, 1)
    constant = np.full((1, BLOCK), value, np.float32)

    encoded = encode(codec, constant)

    assert encoded.residual is not None
    assert np.isfinite(encoded.residual).all()
    assert encoded.energy[0] == (ENERGY_CAP if abs(value) > 1 else 0)
    sent = unpack(encoded.payload, 8).reshape(1, BLOCK) * step_of(codec)
    y = rotate(constant.copy(), SIGNS)
    np.testing.assert_allclose(sent + encoded.residual, y, rtol=1e-6, atol=1e-9)


def test_a_block_just_within_its_own_scale_reports_an_energy_of_256() -> None:
    for codec in (dense(8, 4), dense(4, 4), Float32(round_scales(np.ones(2, np.float32), 0.01, 4))):
        x = draw(9)
        x *= (0.01 * 63.98 / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
        assert encode(codec, x).energy.tolist() == [256, 256]


def test_any_tile_can_be_encoded_alone() -> None:
    codec = dense(8, 4, 6)
    whole = encode(codec, draw(4, 6))

    part = encode(codec, draw(4, 6)[2:4], block=2)

    assert part.payload == whole.payload[2 * BLOCK : 4 * BLOCK]


def test_values_beyond_the_levels_are_refused() -> None:
    codec = dense(8, 4, 1)
    for value in (32, -32):
        q = np.zeros(BLOCK, np.int32)
        q[5] = value
        with pytest.raises(BadUpdateError, match=r"beyond \+-31"):
            codec.add(codec.total(1), pack(q, 8))


def test_a_ring_too_narrow_for_its_cohort_is_refused() -> None:
    with pytest.raises(ConfigError, match="4 bits cannot hold the sum of 8 members"):
        dense(4, 8)


def test_float32_sends_the_weighted_difference_as_it_is() -> None:
    codec = Float32(round_scales(np.ones(2, np.float32), 0.01, 4))

    encoded = encode(codec, draw(1), 0.25)
    total = codec.total(2)
    codec.add(total, encoded.payload)

    assert encoded.residual is None
    assert codec.pack(total) == (draw(1) * np.float32(0.25)).tobytes()
    np.testing.assert_allclose(
        codec.mean(0, 2, codec.pack(total), 65535 // 5), draw(1) * 1.25, rtol=1e-6
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_float32_refuses_what_would_poison_the_sum(value: float) -> None:
    codec = Float32(round_scales(np.ones(1, np.float32), 0.01, 4))
    x = np.zeros(BLOCK, np.float32)
    x[7] = value

    with pytest.raises(BadUpdateError, match="NaN, infinite"):
        codec.add(codec.total(1), x.tobytes())


def test_a_payload_of_the_wrong_length_is_refused() -> None:
    for codec in (dense(8, 4, 1), Float32(round_scales(np.ones(1, np.float32), 0.01, 4))):
        with pytest.raises(BadUpdateError, match="must be"):
            codec.add(codec.total(1), bytes(100))


def test_noise_is_aes_128_in_counter_mode() -> None:
    # RFC 4493, section 4, subkey generation: AES-128(key, 0).
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    stream = Noise(key).uniform(0, 16).tobytes()

    assert stream[:16].hex() == "7df76b0c1ab899b33e42f047b91b546f"
    assert Noise(key).uniform(8, 8).tobytes() == stream[16:]
