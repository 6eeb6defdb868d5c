"""How many members are enough: K in the plan, c colluding workers tolerated, m, t.

    m = 3 + c                        of a sum's members at least three are honest: each sees the sum
                                     of two others, and never one cloud's update
    t = max(m, floor((K + c)/2) + 1) shares, list signatures and survivors needed
    a = floor((K + c)/2) + 1         words needed for a version that the round made

An honest member answers one survivor list, colluders answer any. A coordinator that showed two
lists, one with a member and one without, would need t answers to each to take both of that member's
masks off: 2t <= (K - c) + 2c. So 2t > K + c forbids it. tests/unit/common/test_thresholds.py
searches all attacks of this kind for small K, and finds one as soon as t is one lower.
"""

from typing import Final

from common.documents import Algorithm

_HONEST: Final = 3
_HONEST_AT_LEAST: Final = 2


def min_cohort(colluders: int) -> int:
    """Return m, the fewest members in a sum."""
    return _HONEST + colluders


def threshold(num_members: int, colluders: int, fewest: int | None = None) -> int:
    """Return t.

    Args:
        num_members: K.
        colluders: c.
        fewest: m where every worker's own file asks for another than `min_cohort`'s.
    """
    m = min_cohort(colluders) if fewest is None else fewest
    return max(m, (num_members + colluders) // 2 + 1)


def round_threshold(num_members: int, algorithm: Algorithm) -> int:
    """Return t of a run's round: no two survivor lists can both gather enough."""
    return threshold(num_members, algorithm.colluding, algorithm.min_cohort)


def is_sound(
    num_members: int, colluders: int, shares_needed: int, fewest: int | None = None
) -> bool:
    """Return whether a threshold keeps every update in a sum of enough, and can be reached at all.

    Args:
        num_members: K.
        colluders: c.
        shares_needed: t of a plan.
        fewest: m; never below 2 + c, where a sum could hold a single honest update.
    """
    m = min_cohort(colluders) if fewest is None else fewest
    return (
        colluders >= 0
        and m >= _HONEST_AT_LEAST + colluders
        and m <= shares_needed <= num_members
        and 2 * shares_needed > num_members + colluders
    )


def abandons_needed(num_members: int, colluders: int, shares_needed: int) -> int:
    """Return how many Abandons prove that nobody can unmask, though c of them may lie."""
    return num_members - shares_needed + 1 + colluders


def words_needed(num_members: int, colluders: int) -> int:
    """Return a, how many members' words for what their round made are enough to believe it.

    2a > K + c: any two sets of a share more than c members, so an honest one, who says one thing.
    Never more than t, so survivors are enough.
    """
    return (num_members + colluders) // 2 + 1
