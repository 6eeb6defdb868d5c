"""The inner learning rate, on a clock that every worker reads from the commit log."""

import math

from common.documents import Schedule


def learning_rate(
    schedule: Schedule, progress: float, num_steps: float, num_own_steps: int | None = None
) -> float:
    """Return peak * cosine(progress) * min(1, (n + 1)/warmup).

    Args:
        schedule: of the run.
        progress: of the run at the base, in [0, 1].
        num_steps: n, committed local steps per member at the base plus own steps since.
        num_own_steps: steps since this worker's inner optimiser began without state: it warms up
            on them too; None where it has state.
    """
    warm = _warmth(schedule, num_steps)
    if num_own_steps is not None:
        warm = min(warm, _warmth(schedule, num_own_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, progress))))
    return schedule.peak * (schedule.floor + (1 - schedule.floor) * cosine) * warm


def _warmth(schedule: Schedule, num_steps: float) -> float:
    return min(1.0, (num_steps + 1) / max(1, schedule.warmup_steps))
