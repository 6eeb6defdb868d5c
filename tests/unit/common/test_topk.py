from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.codec.noise import Noise
from common.codec.topk import ONE_IN, TopK, block_bytes
from common.documents import Outer
from common.errors import BadUpdateError, ConfigError
from common.scales import round_scales
from common.schema import BLOCK
from tests.rig.rounds.small_run import Run, random_vector, with_codec
from tests.unit.common.test_selection import WIDE, moved

NOISE = Noise(bytes(16))


def topk(one_in: int, num_blocks: int = 3) -> TopK:
    return TopK(one_in, round_scales(np.ones(num_blocks, np.float32), 0.01, 4))


def drawn(seed: int, num_blocks: int = 3) -> np.ndarray:
    values = np.random.default_rng(seed).standard_t(3, (num_blocks, BLOCK))
    return (0.01 * values).astype(np.float32)


def encode(codec: TopK, difference: np.ndarray, carried: np.ndarray | None = None) -> tuple:
    payload = bytearray(len(difference) * codec.block_bytes)
    tile = codec.encoder(0.5, 0.9, NOISE).encode(0, difference.copy(), carried, payload)
    assert tile.residual is not None
    return bytes(payload), tile.residual.copy(), tile.square


def decoded(codec: TopK, *payloads: bytes) -> np.ndarray:
    total = codec.total(len(codec.radius))
    for payload in payloads:
        total = codec.add(total, payload)
    return codec.mean(0, len(codec.radius), codec.pack(total), 65535)


@pytest.mark.parametrize("one_in", ONE_IN)
def test_the_largest_values_travel_and_the_rest_is_kept(one_in: int) -> None:
    """Sparsified SGD with memory (Stich et al. 2018, algorithm 1): m' = y - top_k(y)."""
    codec, carried = topk(one_in), drawn(2)

    payload, residual, _ = encode(codec, drawn(1), carried)
    sent = decoded(codec, payload)

    y = np.float32(0.5) * drawn(1) + np.float32(0.9) * carried
    picked = sent != 0
    assert (picked.sum(axis=1) == BLOCK // one_in).all()
    for row in range(3):
        assert np.abs(y[row][picked[row]]).min() >= np.abs(y[row][~picked[row]]).max()
    assert residual.tobytes() == (y - sent).tobytes()
    assert np.linalg.norm(residual) < np.linalg.norm(y)
    assert len({*np.abs(sent[0][picked[0]]).tolist()}) <= 2


@pytest.mark.parametrize("one_in", ONE_IN)
def test_each_magnitude_is_the_mean_of_the_sizes_that_it_stands_for(one_in: int) -> None:
    """Lloyd 1982: a level is the mean of its values, and a threshold parts the two."""
    codec = topk(one_in)

    sent = np.abs(decoded(codec, encode(codec, drawn(1))[0]))

    for sizes, row in zip(np.abs(np.float32(0.5) * drawn(1)), sent, strict=True):
        low, high = np.unique(row[row != 0])
        assert sizes[row == low].mean() == pytest.approx(low, rel=1e-3)
        assert sizes[row == high].mean() == pytest.approx(high, rel=1e-3)
        assert sizes[row == low].max() <= sizes[row == high].min()


@pytest.mark.parametrize("one_in", ONE_IN)
def test_a_block_has_the_bytes_of_the_formula(one_in: int) -> None:
    bits = BLOCK // one_in * (int(np.log2(one_in)) + 4)
    assert block_bytes(one_in) == topk(one_in).block_bytes == bits // 8 + 4
    assert len(encode(topk(one_in), drawn(1))[0]) == 3 * block_bytes(one_in)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(ONE_IN), st.integers(0, 2**32))
def test_any_positions_signs_and_magnitudes_come_back(one_in: int, seed: int) -> None:
    """Positions as Elias (1974) and Fano (1971) write them."""
    codec, k, rng = topk(one_in, 1), BLOCK // one_in, np.random.default_rng(seed)
    positions = np.sort(rng.choice(BLOCK, (1, k), replace=False))
    negative, high = rng.random((2, 1, k)) < 0.5

    content = codec.encoded(positions, negative, high, np.array([[3.0, 0.5]]))
    sent = decoded(codec, content.tobytes())[0]

    expected = np.zeros(BLOCK)
    expected[positions[0]] = np.where(negative, -1, 1)[0] * np.where(high, 3.0, 0.5)[0] * 0.01
    np.testing.assert_allclose(sent, expected, rtol=1e-6)


def test_the_mean_adds_the_survivors_blocks() -> None:
    codec = topk(32)
    payloads = [encode(codec, drawn(seed))[0] for seed in range(3)]

    mean = decoded(codec, *payloads)

    np.testing.assert_allclose(mean, sum(decoded(codec, p) for p in payloads), atol=1e-7)


@pytest.mark.parametrize("value", [0.0, 1e18, -1e18, 1e-30, 5e-45])
def test_constant_huge_tiny_and_denormal_blocks_keep_the_books(value: float) -> None:
    codec = topk(64, 1)
    constant = np.full((1, BLOCK), value, np.float32)

    payload, residual, _ = encode(codec, constant)

    assert np.isfinite(residual).all()
    sent = decoded(codec, payload)
    np.testing.assert_allclose(sent + residual, np.float32(0.5) * constant, rtol=1e-6, atol=1e-12)


def test_what_nobody_encodes_is_refused() -> None:
    codec, payload = topk(64, 1), encode(topk(64, 1), drawn(1, 1))[0]
    upper = bytearray(payload)
    places = np.repeat(np.arange(32), 2)[None]
    flags = np.zeros((1, 64), bool)
    upper[48:64] = bytes(16)  # the positions' upper bits
    for content, sentence in (
        (codec.encoded(places, flags, flags, np.ones((1, 2))).tobytes(), "do not ascend"),
        (bytes(upper), "does not have 64 positions"),
        (payload[:-4] + np.array([np.nan, 1], "<f2").tobytes(), "negative, NaN or infinite"),
        (payload[:-4] + np.array([1, -1], "<f2").tobytes(), "negative, NaN or infinite"),
        (payload[:-1], "must be 84"),
    ):
        with pytest.raises(BadUpdateError, match=sentence):
            codec.add(codec.total(1), content)


def test_an_odd_sparsity_is_refused() -> None:
    with pytest.raises(ConfigError, match="one in 16, 32, 64, 128, 256, not in 10"):
        topk(10)


def test_a_run_whose_residuals_hold_what_was_left_out_learns_all_of_it() -> None:
    algorithm = with_codec("topk", 2, one_in=16, residual_decay=1.0)
    run = Run(replace(algorithm, outer=Outer("sgd", 1.0, 0.0)), WIDE)
    start, drift = run.theta(), random_vector(WIDE, 5, 0.01)
    run.advance(*run.commit(dict.fromkeys(run.workers, start - drift)))
    for seed in range(1, 40):
        run.advance(*run.commit(dict.fromkeys(run.workers, run.theta()), seed=seed))

    off = np.linalg.norm(start - drift - run.theta()) / np.linalg.norm(drift)
    assert off < 0.15


def test_an_aggregate_holds_every_survivors_blocks() -> None:
    run = Run(with_codec("topk", 2, one_in=64), WIDE)
    commit, content = run.commit(moved(run, 1))
    size = WIDE.num_blocks * 84
    assert run.terms(commit.plan).layout.data_bytes == size
    assert len(content) == 4 * size + 4 * WIDE.num_blocks
