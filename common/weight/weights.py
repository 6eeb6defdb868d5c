"""How much each member counts. Every member computes all weights, so all agree to the bit.

Only IEEE float64 `+ - * / sqrt`, in written order, over members sorted by name: no pow, no exp.
(A worker's own staleness weight may use pow: it travels as an integer.)

    g = the run's gain                           A = lr_sum
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

from common.documents import Algorithm, Numbers
from common.errors import BadNumbersError
from common.ids import WorkerId
from common.weight import ONE
from common.weight.gains import gains
from common.weight.numbers import check_numbers
from common.weight.share import cap_ratio, share_cap


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
    g = _capped(numbers, members, algorithm, num_needed)

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
    g = _capped(numbers, members, algorithm, num_needed)
    return {w: _influence(numbers[w], gi) for w, gi in zip(members, g, strict=True)}


def _capped(
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
    g = gains([numbers[w] for w in members], algorithm)
    num_others = num_needed - 1 - algorithm.colluding
    if num_others < 1:
        return g
    v = [_influence(numbers[w], gi) for w, gi in zip(members, g, strict=True)]
    cap = share_cap(v, num_others, cap_ratio(algorithm))
    return [gi * min(1.0, cap / vi) for gi, vi in zip(g, v, strict=True)]


def _influence(n: Numbers, g: float) -> float:
    """Return v = s*g*A."""
    return n.staleness_65535 / ONE * g * n.lr_sum


def _clamped(x: float) -> int:
    return min(ONE, max(1, round(ONE * x)))
