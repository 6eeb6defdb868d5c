"""How many members a sum needs, and how many losses it survives.

    m = 3 + c                        fewest members in a sum
    t = max(m, floor((K + c)/2) + 1) shares, signatures and survivors needed; 2t > K + c, so that no
                                     two lists of survivors can both gather enough

A lower t breaks: tests/unit/common/secagg/test_thresholds.py searches for how.
"""


def min_cohort(colluding: int) -> int:
    """Return m for c colluding workers."""
    return 3 + colluding


def threshold(num_members: int, colluding: int, fewest: int) -> int:
    """Return t of K members.

    Args:
        fewest: m.
    """
    return max(fewest, (num_members + colluding) // 2 + 1)


def is_sound(num_members: int, needed: int, colluding: int) -> bool:
    """Return whether no two lists of survivors can both gather `needed` honest answers."""
    return 2 * needed > num_members + colluding
