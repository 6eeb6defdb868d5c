import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.codec.loops import rotate
from common.rotation import rotate_exactly, rotation_signs
from common.schema import BLOCK


def hadamard() -> np.ndarray:
    i = np.arange(BLOCK)
    return (1.0 - 2 * (np.bitwise_count(i[:, None] & i[None, :]) & 1)).astype(np.float64)


H = hadamard()  # float64: all products below are exact integers


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([4, 8, 12, 16]), st.integers(0, 2**32))
def test_the_rotation_of_a_sum_is_the_exact_integer_product(bits: int, seed: int) -> None:
    edge = 2 ** (bits - 1)
    n = np.random.default_rng(seed).integers(-edge, edge, (2, BLOCK)).astype(np.int32)

    assert np.array_equal(rotate_exactly(n, bits), (n.astype(np.float64) @ H).astype(np.float32))


@pytest.mark.parametrize("bits", [4, 8, 12, 16])
def test_the_largest_possible_sum_is_still_exact(bits: int) -> None:
    n = np.full((1, BLOCK), -(2 ** (bits - 1)), np.int32)

    rotated = rotate_exactly(n, bits)

    assert rotated[0, 0] == -(2 ** (bits - 1)) * BLOCK
    assert not rotated[0, 1:].any()
    assert not np.signbit(rotated[0, 1:]).any()


def test_rotating_there_and_back_gives_the_same_values() -> None:
    signs = rotation_signs(3)
    x = np.random.default_rng(0).standard_normal((3, BLOCK)).astype(np.float32)

    y = rotate(x.copy(), signs)
    back = signs * (y.astype(np.float64) @ H) / 64

    np.testing.assert_allclose(back, x, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), np.linalg.norm(x, axis=1), rtol=1e-6)


def test_rotation_spreads_a_single_large_value_over_the_block() -> None:
    """Suresh et al. 2017, rotated quantisation: H times random signs shrinks the largest value."""
    x = np.zeros((1, BLOCK), np.float32)
    x[0, 17] = 64.0

    y = rotate(x, rotation_signs(3) * np.float32(0.5))

    assert np.array_equal(np.abs(y), np.full((1, BLOCK), 0.5))


def test_signs_differ_between_seeds_and_are_balanced() -> None:
    a, b = rotation_signs(1), rotation_signs(2)

    assert set(a.tolist()) == {1.0, -1.0}
    assert abs(a.sum()) < 400
    assert abs((a * b).sum()) < 400
