"""How much each member counts. Every member computes all weights, so all agree to the bit.

Only IEEE float64 `+ - * / sqrt`, in written order, over members sorted by name: no pow, no exp.
(A worker's own staleness weight may use pow: it travels as an integer.)

    g = tokens/A | tokens | samples | 1          A = lr_sum
    s = staleness_65535 / 65535
    g *= min(1, T/v),  v = s*g*A                 T caps a member's share of the cohort's weight
    u_max = rho * max g
    U = clamp(round(65535*s*g/u_max), 1, 65535)  the weight on the wire
    V = clamp(round(65535*g/u_max), 1, 65535)    what the sum is divided by
    a = rms(s*g/u_max*A)                         the unit of the round's scales

`round` is to the nearest integer, ties to even. There is no loss policy yet: its factor is 1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from common import thresholds
from common.documents import Algorithm, Numbers, Plan
from common.errors import BadNumbersError, ConfigError
from common.ids import WorkerId
from common.rate import lr_sum_bounds

ONE: Final = 65535
"""A weight of 1, on the wire."""

_MAX_COUNT: Final = 2**48
_MIN_LR_SUM: Final = 2.0**-40
_MAX_LR_SUM: Final = 2.0**40


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of U2.

    Args:
        u: weight on the wire, in 1/65535.
        v: the same without staleness.
        scale: a, of U2, float64.
    """

    u: Mapping[WorkerId, int]
    v: Mapping[WorkerId, int]
    scale: float

    def wire(self, worker: WorkerId) -> float:
        """Return w, the weight by which a member multiplies its update; at most 1."""
        return self.u[worker] / ONE


def check_numbers(worker: WorkerId, n: Numbers, algorithm: Algorithm) -> None:
    """Refuse numbers that no honest member can have.

    The bounds on A and on the counts keep every scale that follows a normal float32. A is besides a
    sum of so many learning rates of the run's schedule: g is divided by it, so a member that says
    less would drown the others in the rounding of their weights.

    Raises:
        BadNumbersError: names the worker and the field.
    """
    max_age_256 = algorithm.max_staleness * 256
    lowest, highest = lr_sum_bounds(n.steps, algorithm.schedule)
    checks = (
        ("steps", n.steps, 1, _MAX_COUNT),
        ("tokens", n.tokens, 1, _MAX_COUNT),
        ("lr_sum", n.lr_sum, max(lowest, _MIN_LR_SUM), min(highest, _MAX_LR_SUM)),
        ("age_256", n.age_256, 0, max_age_256),
        ("staleness_65535", n.staleness_65535, 1, ONE),
        ("samples", n.samples, 1, _MAX_COUNT),
        ("size", n.size, 0, 0),  # no weighting asks for it, or for the link
        ("link_mbps", n.link_mbps, 0, 0),
    )
    for field, value, low, high in checks:
        if not low <= value <= high:  # NaN too
            raise BadNumbersError(
                f"{worker}: {field} is {value}, must be from {low} to {high}; discard this work"
            )


def threshold(num_members: int, algorithm: Algorithm) -> int:
    """Return t of a round: no two survivor lists can both gather enough."""
    return thresholds.threshold(num_members, algorithm.colluding, algorithm.min_cohort)


def share(plan: Plan, survivors: Sequence[WorkerId]) -> float:
    """Return the survivors' part of the federation's speed, float64."""
    speed = {o.worker: o.speed for o in plan.offers}
    return sum(speed[w] for w in survivors) / plan.live_speed


def staleness_65535(age_256: int, algorithm: Algorithm) -> int:
    """Return s(tau) in 1/65535, at least 1.

    poly: (1 + tau)**-a. hinge: 1 up to tau_max/2, then 1/(1 + a*(tau - tau_max/2)). constant: 1.

    Args:
        age_256: tau in 1/256 commits.
        algorithm: says which, and a.
    """
    tau, a = age_256 / 256, algorithm.staleness_exponent
    match algorithm.staleness:
        case "poly":
            s = float((1 + tau) ** -a)
        case "hinge":
            s = 1 / (1 + a * max(0.0, tau - algorithm.max_staleness / 2))
        case "constant":
            s = 1.0
        case other:
            raise ConfigError(f"staleness is {other!r}, must be poly, hinge or constant")
    return min(ONE, max(1, round(ONE * s)))


def weights(numbers: Mapping[WorkerId, Numbers], algorithm: Algorithm, num_needed: int) -> Weights:
    """Return the weights of U2, the workers that `numbers` names.

    Args:
        numbers: at close, of every member of U2; checked here.
        algorithm: the run's.
        num_needed: t, the round's threshold.

    Raises:
        BadNumbersError: names the worker and the field; or fewer members than needed.
    """
    members = sorted(numbers)
    lr_sum = [numbers[w].lr_sum for w in members]
    s = [numbers[w].staleness_65535 / ONE for w in members]
    g = _gains(numbers, members, algorithm, num_needed)

    u_max = algorithm.max_policy_factor * max(g)
    fresh = [gi / u_max for gi in g]
    stale = [si * gi / u_max for si, gi in zip(s, g, strict=True)]
    squares = [(x * ai) * (x * ai) for x, ai in zip(stale, lr_sum, strict=True)]
    return Weights(
        u={w: _clamped(x) for w, x in zip(members, stale, strict=True)},
        v={w: _clamped(x) for w, x in zip(members, fresh, strict=True)},
        scale=math.sqrt(math.fsum(squares) / len(members)),
    )


def influence(
    numbers: Mapping[WorkerId, Numbers], algorithm: Algorithm, num_needed: int
) -> dict[WorkerId, float]:
    """Return v = s*g*A of each member of U2, g as capped: its part of the sum before a loss policy.

    Raises:
        BadNumbersError: as `weights`.
    """
    members = sorted(numbers)
    g = _gains(numbers, members, algorithm, num_needed)
    return {w: _influence(numbers[w], gi) for w, gi in zip(members, g, strict=True)}


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


def _gains(
    numbers: Mapping[WorkerId, Numbers],
    members: Sequence[WorkerId],
    algorithm: Algorithm,
    num_needed: int,
) -> list[float]:
    """Return each member's g, capped so that no sum of `num_needed` members is mostly one's."""
    if len(members) < max(1, num_needed):
        raise BadNumbersError(f"numbers of {len(members)} members, at least {num_needed} needed")
    for w in members:
        check_numbers(w, numbers[w], algorithm)
    g = [_gain(numbers[w], algorithm) for w in members]
    num_others = num_needed - 1 - algorithm.colluding
    if num_others < 1:
        return g
    v = [_influence(numbers[w], gi) for w, gi in zip(members, g, strict=True)]
    cap = share_cap(v, num_others, cap_ratio(algorithm))
    return [gi * min(1.0, cap / vi) for gi, vi in zip(g, v, strict=True)]


def _influence(n: Numbers, g: float) -> float:
    """Return v = s*g*A."""
    return n.staleness_65535 / ONE * g * n.lr_sum


def _gain(n: Numbers, algorithm: Algorithm) -> float:
    match algorithm.normalisation:
        case "normalised":
            return n.tokens / n.lr_sum
        case "tokens":
            return float(n.tokens)
        case "samples":
            return float(n.samples)
        case "uniform":
            return 1.0
        case other:
            raise ConfigError(
                f"normalisation is {other!r}, must be normalised, tokens, samples or uniform"
            )


def _clamped(x: float) -> int:
    return min(ONE, max(1, round(ONE * x)))
