"""Between which bounds every inner learning rate of a run lies, whatever anybody is told.

The rate itself is a worker's own (`worker/training/schedule.py`). Its bounds follow from the
genesis alone, so `common/weight/numbers.py` refuses sums of rates that no honest worker can have.
"""

from typing import Final

from common.documents import Schedule

_LEAST_FACTOR: Final = 2.0**-20
"""Of the cosine, where `floor` is smaller: at the end of a run the rate must not be 0, for weights
are divided by it."""

_ROUNDING: Final = 2.0**-20
"""By how much a sum of rates may miss its bounds, relatively: it is added up in float64."""


def lowest_rate(schedule: Schedule) -> float:
    """Return the lowest rate that the schedule has: at its end, in the first step of a warm-up."""
    return schedule.peak * max(schedule.floor, _LEAST_FACTOR) / max(1, schedule.warmup_steps)


def lr_sum_bounds(num_steps: int, schedule: Schedule) -> tuple[float, float]:
    """Return between what A lies, the sum of the rates of so many steps."""
    lowest, peak = num_steps * lowest_rate(schedule), num_steps * schedule.peak
    return lowest * (1 - _ROUNDING), peak * (1 + _ROUNDING)
