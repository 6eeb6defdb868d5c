"""Refuses numbers at close that no honest member can have."""

from typing import Final

from common.documents import Algorithm, Numbers
from common.errors import BadNumbersError
from common.ids import WorkerId
from common.rate import lr_sum_bounds
from common.weight import ONE

_MAX_COUNT: Final = 2**48
_MIN_LR_SUM: Final = 2.0**-40
_MAX_LR_SUM: Final = 2.0**40


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
