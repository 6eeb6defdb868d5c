import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.scales import (
    Scales,
    drifting_scales,
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


def test_energy_of_a_block_just_within_its_scale_is_256_and_is_capped() -> None:
    square = np.array([4093.0, 1023.0, 0.0, math.inf], np.float32)

    assert energy(square, 1000).tolist() == [256, 64, 0, 1000]


@given(st.floats(2.0**-100, 2.0**30), st.sampled_from([-1.0, 0.0, 1.0]))
def test_an_energy_is_never_less_than_what_it_measures(square: float, error: float) -> None:
    """Whatever 4096 roundings to float32 took away."""
    measured = np.array([square * (1 + error * 4096 * 2.0**-24)], np.float32)

    (z,) = energy(measured, 2**31 - 1).tolist()

    exact = 256 * square / 4096
    assert exact <= z <= exact * (1 + 2.0**-10) + 1 or z == 2**31 - 1


def drifting(*blocks: tuple[float, int]) -> Scales:
    """Return the scales of blocks, (R_B, d_B) each."""
    scales, rounds = np.array(blocks, np.float32).T
    return round_scales(scales, 0.04, 4, rounds)


def test_a_block_that_waited_is_measured_in_rounds() -> None:
    used = drifting((0.25, 1), (0.5, 16), (2.0**40, 1))
    assert next_scales(used, z(256, 4 * 256, 256), 1).tolist() == [0.25, 0.125, 2.0**40]


def test_what_waits_grows_by_its_rounds_and_begins_again_once_it_travelled() -> None:
    used, sent = drifting((0.25, 1), (0.5, 15), (2.0**40, 1), (1.0, 2)), np.array([3])
    scales, drift = drifting_scales(used, sent, np.array([0.75], np.float32), 16)
    grown = [0.25 * 2**0.75, 0.5 * (16 / 15) ** 0.75, 2.0**40, 0.75]
    assert scales.tolist() == pytest.approx(grown, rel=1e-7)
    assert drift.tolist() == [2, 16, 2, 1]


def test_what_never_travelled_is_expected_to_move_as_what_just_did() -> None:
    used, sent = drifting((0.3, 15), (0.25, 1), (0.5, 1), (0.5, 2)), np.array([1, 2, 3])
    scales, _ = drifting_scales(used, sent, np.array([0.5, 0.5, 2.0**-20], np.float32), 14)
    assert scales.tolist() == [8 * 0.5, 0.5, 0.5, 2.0**-20]  # what stands still tells nothing
    scales, _ = drifting_scales(used, sent, np.full(3, 2.0**-20, np.float32), 14)
    assert scales[0] == pytest.approx(0.3 * (16 / 15) ** 0.75)


def test_the_energies_of_a_cohort_never_overflow_their_side_value() -> None:
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
