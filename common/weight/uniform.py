"""Every update counts alike."""

from collections.abc import Sequence

from common.documents import Algorithm, Numbers


def uniform(cohort: Sequence[Numbers], _: Algorithm) -> list[float]:
    """Return 1 of each member."""
    return [1.0] * len(cohort)
