"""Thresholds against every attack of a small world, not against their own formulas.

The world: members 0 .. K-1, of whom the last c collude with the coordinator. The coordinator tells
each honest member some (U2, S); that member answers one list, and only if it is in it, the list is
long enough, and, where S != U2, t members of S signed the same. Colluders answer everything. That
is the active adversary of Bonawitz et al. 2017, section 6, and ConsistencyCheck of their figure 4.
"""

import functools
from collections.abc import Iterator
from itertools import product

import pytest

from common.documents import Algorithm
from common.thresholds import (
    abandons_needed,
    is_sound,
    min_cohort,
    round_threshold,
    threshold,
    words_needed,
)

WORLDS = [(k, c) for k in (3, 4, 5) for c in range(k - 2)]  # all with K >= m
VIEW = tuple[int, int]  # U2 and S, as sets of bits


def views(k: int, t: int) -> list[VIEW]:
    everyone = range(1, 2**k)
    return [(u, s) for u in everyone for s in everyone if s & ~u == 0 and s.bit_count() >= t]


@functools.cache
def two_lists_unmask_one_member(k: int, c: int, t: int) -> bool:
    """Return whether two views give t shares of both secrets of an honest member: its update."""
    colluders = 2**k - 2 ** (k - c)
    honest = range(k - c)
    for (u, s), (v, r) in product(views(k, t), repeat=2):
        for first in range(2 ** (k - c)):  # who is told (u, s); the others are told (v, r)
            told_first, told_second = first & s, (2 ** (k - c) - 1) & ~first & r
            answers = []
            for union, listed, told in ((u, s, told_first), (v, r, told_second)):
                signers = told | colluders & listed
                answers.append(told if listed == union or signers.bit_count() >= t else 0)
            for j in honest:
                of_b = of_mask = colluders
                for (union, listed), told in zip(((u, s), (v, r)), answers, strict=True):
                    if union >> j & 1:
                        of_b |= told if listed >> j & 1 else 0
                        of_mask |= 0 if listed >> j & 1 else told
                if of_b.bit_count() >= t and of_mask.bit_count() >= t:
                    return True
    return False


def a_sum_of_few_is_unmasked(k: int, c: int, t: int) -> bool:
    """Return whether one list of fewer than three honest members gets its t answers."""
    honest = 2 ** (k - c) - 1
    colluders = 2**k - 1 - honest
    return any(
        (s & honest) and (s & honest).bit_count() < 3 and (s | colluders).bit_count() >= t
        for _, s in views(k, t)
    )


@pytest.mark.parametrize(("k", "c"), WORLDS)
def test_at_the_threshold_no_attack_exists_and_one_lower_there_is_one(k: int, c: int) -> None:
    t = threshold(k, c)
    assert not two_lists_unmask_one_member(k, c, t)
    assert not a_sum_of_few_is_unmasked(k, c, t)
    assert two_lists_unmask_one_member(k, c, t - 1) or a_sum_of_few_is_unmasked(k, c, t - 1)


@pytest.mark.parametrize(("k", "c"), WORLDS)
def test_two_lists_break_exactly_the_thresholds_with_2t_at_most_k_plus_c(k: int, c: int) -> None:
    broken = [t for t in range(1, k + 1) if two_lists_unmask_one_member(k, c, t)]
    assert broken == [t for t in range(1, k + 1) if 2 * t <= k + c]


@pytest.mark.parametrize(("k", "c"), WORLDS)
def test_sums_of_few_break_exactly_the_thresholds_below_m(k: int, c: int) -> None:
    broken = [t for t in range(1, k + 1) if a_sum_of_few_is_unmasked(k, c, t)]
    assert broken == [t for t in range(1, k + 1) if t < min_cohort(c)]


@pytest.mark.parametrize(("k", "c"), WORLDS)
def test_a_threshold_is_sound_exactly_where_the_search_finds_nothing(k: int, c: int) -> None:
    for t in range(1, k + 1):
        found = two_lists_unmask_one_member(k, c, t) or a_sum_of_few_is_unmasked(k, c, t)
        assert is_sound(k, c, t) is not found


def test_half_of_six_are_enough_members_for_a_sum_and_yet_not_sound() -> None:
    assert not a_sum_of_few_is_unmasked(6, 0, 3)
    assert two_lists_unmask_one_member(6, 0, 3)
    assert not is_sound(6, 0, 3)


@pytest.mark.parametrize(("k", "c"), WORLDS)
def test_after_the_abandons_nobody_can_unmask_and_one_fewer_does_not_do(k: int, c: int) -> None:
    t = threshold(k, c)

    def can_unmask(abandons: int) -> bool:
        # Colluders abandon too, and answer all the same; only an honest word holds.
        return any(k - (abandons - lies) >= t for lies in range(min(c, abandons) + 1))

    assert not can_unmask(abandons_needed(k, c, t))
    assert can_unmask(abandons_needed(k, c, t) - 1)


@pytest.mark.parametrize(("k", "losses"), [(3, 0), (4, 1), (5, 2), (6, 2), (7, 3), (8, 3), (16, 7)])
def test_losses_survived_are_those_of_the_table(k: int, losses: int) -> None:
    assert k - threshold(k, 0) == losses


def all_plans() -> Iterator[tuple[int, int]]:
    return ((k, c) for c in range(8) for k in range(min_cohort(c), 129))


def test_every_cohort_that_is_large_enough_has_a_sound_threshold() -> None:
    assert all(is_sound(k, c, threshold(k, c)) for k, c in all_plans())


def test_a_cohort_below_m_has_none() -> None:
    for c in range(8):
        k = min_cohort(c) - 1
        assert not any(is_sound(k, c, t) for t in range(2 * k))


def test_two_members_must_be_asked_for() -> None:
    assert not is_sound(2, 0, threshold(2, 0))
    assert is_sound(2, 0, threshold(2, 0, fewest=2), fewest=2)
    assert threshold(3, 0, fewest=2) == 2
    assert not is_sound(2, 1, 2, fewest=2)  # of two, one colludes: the other stands alone


def test_negative_colluders_are_not_sound() -> None:
    assert not is_sound(4, -1, 3, fewest=3)


def test_two_sets_of_words_that_are_enough_share_an_honest_member() -> None:
    for c in range(4):
        for num in range(3 + c, 40):
            needed = words_needed(num, c)
            assert 2 * needed - num > c  # fewest members that both sets have
            assert needed <= threshold(num, c)  # survivors alone can give them
            assert needed > c  # colluders alone never can


def test_threshold_lets_no_two_survivor_lists_stand_side_by_side() -> None:
    plain = Algorithm(min_cohort=1)
    masked = Algorithm(min_cohort=3)

    assert [round_threshold(k, plain) for k in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]
    assert [k - round_threshold(k, masked) for k in (3, 4, 5, 6, 7, 8, 16)] == [0, 1, 2, 2, 3, 3, 7]
    assert all(
        2 * round_threshold(k, Algorithm(colluding=c)) > k + c for k in range(1, 65) for c in (0, 1)
    )
