"""How much a masked sum resembles one cloud's update: as a rule, and at most.

Updates are taken to be equally long for equal weight, with `COMMON` of their energy the same in all
clouds: what docs/threat-model.md, section 4, draws. What a run's own updates have in common is not
known before it is run.
"""

import math
from dataclasses import dataclass
from typing import Final

from common.documents import Algorithm

COMMON: Final = 0.3
"""Part of an update's energy that all clouds have in common."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """Cosines of a sum with the update of one of its members: 1 = the update itself.

    Args:
        equal: where all members have equal parts of the sum.
        most: where one has all that `max_share` permits, and the others share the rest.
    """

    equal: float
    most: float


def likeness(algorithm: Algorithm, num_members: int) -> Likeness | None:
    """Return what a sum of so many tells; None in tier tls, where the coordinator sees each update.

    Colluders take their own parts off a sum: what is left has `colluding` members fewer.
    """
    num = num_members - algorithm.colluding
    if not algorithm.masked or num < 1:
        return None
    equal = 1 / num
    return Likeness(cosine(equal, num), cosine(max(equal, algorithm.max_share), num))


def cosine(share: float, num_members: int) -> float:
    """Return that of a sum with the update of a member that is `share` of it, the others alike."""
    if num_members == 1:
        return 1.0
    rest = 1 - share
    own = share * share + rest * rest / (num_members - 1)  # energy of the parts, each for itself
    return (share + COMMON * rest) / math.sqrt(own + COMMON * (1 - own))
