"""The inner learning rate, on a clock that every worker reads from the commit log."""

import math

from common.documents import Schedule
from common.rate import lowest_rate


def learning_rate(
    schedule: Schedule, progress: float, num_steps: float, num_own_steps: int | None = None
) -> float:
    """Return peak * cosine(progress) * min(1, (n + 1)/warmup), in (0, peak] whatever it is told.

    A clock outside its range, NaN too, counts as the nearest of its ends: the log is written by the
    coordinator, and a rate that is not in (0, peak] would make a weapon of it.

    Args:
        schedule: of the run.
        progress: of the run at the base, in [0, 1].
        num_steps: n, committed local steps per member at the base plus own steps since; at least 0.
        num_own_steps: steps since this worker's inner optimiser began without state: it warms up
            on them too; None where it has state.
    """
    warm = _warmth(schedule, num_steps)
    if num_own_steps is not None:
        warm = min(warm, _warmth(schedule, num_own_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * _within(progress, 1.0)))
    rate = schedule.peak * (schedule.floor + (1 - schedule.floor) * cosine) * warm
    return min(schedule.peak, max(lowest_rate(schedule), rate))


def _warmth(schedule: Schedule, num_steps: float) -> float:
    warmup = max(1, schedule.warmup_steps)
    return min(1.0, (_within(num_steps, warmup) + 1) / warmup)


def _within(told: float, most: float) -> float:
    return min(most, max(0, told))  # in this order NaN is 0
