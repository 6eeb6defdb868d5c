import math

import numpy as np
import pytest

from common.scales import (
    energy,
    exact_squares,
    levels,
    next_clip,
    next_scales,
    round_scales,
)

USED = round_scales(np.array([0.25, 0.5], np.float32), 0.04, 4)


def z(*values: int) -> np.ndarray:
    return np.array(values, np.uint32)


@pytest.mark.parametrize("bits", [4, 8, 12, 16])
@pytest.mark.parametrize("num_members", [1, 2, 3, 4, 5, 8, 64])
def test_the_sum_of_all_members_never_wraps(bits: int, num_members: int) -> None:
    most = levels(bits, num_members)

    assert most * num_members <= 2 ** (bits - 1) - 1
    assert (most + 1) * num_members > 2 ** (bits - 1) - 1


def test_energy_of_a_block_at_its_scale_is_256_and_is_capped() -> None:
    square = np.array([4096.0, 1024.0, 0.0, math.inf], np.float32)

    assert energy(square, 1000).tolist() == [256, 64, 0, 1000]


def test_the_energies_of_a_cohort_never_overflow_their_lane() -> None:
    for k in (1, 2, 3, 8, 64):
        assert k * round_scales(np.ones(1, np.float32), 1.0, k).energy_cap < 2**31


def test_scales_follow_the_mean_energy_and_keep_a_floor() -> None:
    moved = next_scales(USED, z(3 * 4 * 256, 0), 3)

    assert moved.tolist() == [0.5, 2.0**-20]
    assert moved.dtype == np.float32


def test_clipping_begins_at_twice_the_mean_length_after_five_commits() -> None:
    energies = z(2 * 256, 2 * 256)
    length = 64 * math.hypot(0.25, 0.5)  # per unit of learning rate

    assert next_clip(0.0, 4, USED, energies, 2, 0) == 0.0
    assert next_clip(0.0, 5, USED, energies, 2, 0) == pytest.approx(2 * length, rel=1e-6)


def test_the_clip_grows_when_too_many_were_clipped_and_shrinks_otherwise() -> None:
    assert next_clip(10.0, 9, USED, z(1, 1), 4, 1) == np.float32(11.0)
    assert next_clip(10.0, 9, USED, z(1, 1), 20, 1) == np.float32(10 / 1.01)
    assert next_clip(10.0, 9, USED, z(1, 1), 4, 0) == np.float32(10 / 1.01)


def test_a_round_that_moved_nothing_leaves_clipping_off() -> None:
    assert next_clip(0.0, 7, USED, z(0, 0), 4, 0) == 0.0


def test_exact_squares_are_exact_on_integers() -> None:
    n = np.random.default_rng(0).integers(-(2**15), 2**15, (2, 4096)).astype(np.int32)

    assert exact_squares(n).tolist() == (n.astype(object) ** 2).sum(axis=1).tolist()
