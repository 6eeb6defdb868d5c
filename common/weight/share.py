"""A member's part of a sum, which `max_share` caps, and the survivors' part of the federation."""

from collections.abc import Sequence

from common.documents import Algorithm, Plan
from common.errors import ConfigError
from common.ids import WorkerId


def share_cap(v: Sequence[float], num_others: int, ratio: float) -> float:
    """Return T, the largest value <= max v with T <= ratio * (sum of the n smallest min(v, T)).

    The right side is concave in T, with a kink at each of the n smallest v: T lies where it
    crosses the diagonal for the last time, so the pieces are tried from the right.

    Args:
        v: influence of each member, positive; more than n of them.
        num_others: n >= 1.
        ratio: at least 1/n, else T would be 0.
    """
    ordered = sorted(v)
    for num_whole in range(num_others, 0, -1):  # members whose v is below T
        slope = 1 - ratio * (num_others - num_whole)
        if slope > 0:
            cap = ratio * sum(ordered[:num_whole]) / slope
            if cap >= ordered[num_whole - 1]:
                return min(cap, ordered[-1])
    return ordered[0]


def cap_ratio(algorithm: Algorithm) -> float:
    """Return max_share/(1 - max_share)/rho**2; refuse one that no cohort could satisfy.

    Raises:
        ConfigError: names the setting; worth calling at start-up.
    """
    rho, most = algorithm.max_policy_factor, algorithm.max_share
    num_others = algorithm.min_cohort - 1 - algorithm.colluding
    if not 0 < most < 1:
        raise ConfigError(f"max_share is {most}, must be between 0 and 1")
    ratio = most / (1 - most) / (rho * rho)
    if ratio * max(1, num_others) < 1:
        raise ConfigError(
            f"max_share is {most} with min_cohort {algorithm.min_cohort}: no cohort can satisfy "
            "it; raise max_share or min_cohort"
        )
    return ratio


def share(plan: Plan, survivors: Sequence[WorkerId]) -> float:
    """Return the survivors' part of the federation's speed, float64."""
    speed = {o.worker: o.speed for o in plan.offers}
    return sum(speed[w] for w in survivors) / plan.live_speed
