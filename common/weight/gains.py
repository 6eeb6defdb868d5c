"""What an update weighs by, before staleness and the cap: a run names one of these.

`common/constants.py` lists the names, so run.yaml may have them and soundness refuses any other.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from common.documents import Algorithm, Numbers
from common.errors import ConfigError
from common.weight.normalised import normalised
from common.weight.samples import samples
from common.weight.tokens import tokens
from common.weight.uniform import uniform

Gain = Callable[[Sequence[Numbers], Algorithm], list[float]]
"""Returns g of each member, positive, from the checked numbers of all of U2, sorted by name.

Only float64 `+ - * / sqrt`, in written order: every member computes it, to the bit.
"""

GAINS: Final[Mapping[str, Gain]] = {
    "normalised": normalised,
    "tokens": tokens,
    "samples": samples,
    "uniform": uniform,
}


def gains(cohort: Sequence[Numbers], algorithm: Algorithm) -> list[float]:
    """Return g of each member by the run's gain.

    Raises:
        ConfigError: no gain has this name.
    """
    if (gain := GAINS.get(algorithm.normalisation)) is None:
        *others, last = GAINS
        raise ConfigError(
            f"normalisation is {algorithm.normalisation!r}, must be {', '.join(others)} or {last}"
        )
    return gain(cohort, algorithm)
