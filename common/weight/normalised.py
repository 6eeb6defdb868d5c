"""What an update's local steps add up to (FedNova, Wang et al. 2020)."""

from collections.abc import Sequence

from common.documents import Algorithm, Numbers


def normalised(cohort: Sequence[Numbers], _: Algorithm) -> list[float]:
    """Return tokens/A of each member."""
    return [n.tokens / n.lr_sum for n in cohort]
