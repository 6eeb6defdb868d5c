"""The tokens that an update was trained on."""

from collections.abc import Sequence

from common.documents import Algorithm, Numbers


def tokens(cohort: Sequence[Numbers], _: Algorithm) -> list[float]:
    """Return tokens of each member."""
    return [float(n.tokens) for n in cohort]
