"""Where values lie on an axis, and at which of them it carries a tick."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_STEPS: Final = (1, 2, 5, 10)


def linear_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round values from `low` to `high`, at most about `most` of them, ascending."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in _STEPS if s * power >= rough * (1 - 1e-9))
    return [
        i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5 times powers of ten between `low` > 0 and `high`, ascending."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [t for d in decades for m in (1, 2, 5) if low <= (t := m * 10.0**d) <= high]


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`; logarithmic where both are above 0 and that is asked for."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return where `value` lies, 0 at `low` and 1 at `high`."""
        if self.log:
            span = math.log(self.high) - math.log(self.low)
            return (math.log(value) - math.log(self.low)) / span
        return (value - self.low) / (self.high - self.low)

    def ticks(self, most: int = 5) -> list[float]:
        """Return where ticks go."""
        if self.log:
            ticks = log_ticks(self.low, self.high)
            if len(ticks) >= 2:
                return ticks if len(ticks) <= most + 2 else ticks[:: -(-len(ticks) // most)]
        return linear_ticks(self.low, self.high, most)


def axis_of(
    values: Sequence[float], *, from_zero: bool = False, log: bool = False, room: bool = True
) -> Axis:
    """Return an axis around finite `values`; never an empty one.

    Args:
        room: leave some beyond the smallest and the largest.
    """
    low, high = min(values, default=0.0), max(values, default=1.0)
    if log and low >= sys.float_info.min:  # below it there are too few floats for a margin
        return Axis(low / 1.15, high * 1.15, log=True)
    margin = 0.07 * (high - low) or 0.05 * abs(high) or 0.5
    if from_zero and low >= 0:
        return Axis(0.0, high if high > 0 and not room else high + margin)
    return Axis(low - margin, high + margin)
