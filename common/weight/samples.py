"""The sequences that an update was trained on (FedAvg, McMahan et al. 2017, algorithm 1)."""

from collections.abc import Sequence

from common.documents import Algorithm, Numbers


def samples(cohort: Sequence[Numbers], _: Algorithm) -> list[float]:
    """Return samples of each member."""
    return [float(n.samples) for n in cohort]
