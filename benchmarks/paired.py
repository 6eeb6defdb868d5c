"""What paired seeds prove: one-sided bounds on the mean of differences.

Two configurations that are run with the same seeds begin at the same parameters and draw the same
batches, so most of what chance does to their losses cancels in the difference.
"""

import math
from collections.abc import Sequence
from typing import Final

T_95: Final = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782)
"""Student's t for 1, 2, 3, ... degrees of freedom: 95 % lie below (one-sided).

Source: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2, critical values of Student's t.
"""


def mean(values: Sequence[float]) -> float:
    """Return the mean of at least one value."""
    return math.fsum(values) / len(values)


def upper_bound(differences: Sequence[float]) -> float:
    """Return what the true mean is below, at 95 % confidence, if differences are about normal.

    mean + t * s / sqrt(n), t one-sided with n - 1 degrees of freedom.

    Args:
        differences: independent, 2 to 13 of them; one alone bounds nothing: infinite.
    """
    n = len(differences)
    if n < 2:
        return math.inf
    centre = mean(differences)
    spread = math.sqrt(math.fsum((d - centre) ** 2 for d in differences) / (n - 1))
    return centre + T_95[n - 2] * spread / math.sqrt(n)


def excess(losses: Sequence[float], references: Sequence[float]) -> tuple[float, ...]:
    """Return how much higher each loss is than its reference of the same seed, relatively."""
    return tuple(a / b - 1 for a, b in zip(losses, references, strict=True))
