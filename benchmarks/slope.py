"""Whether a series of memory readings grows, by how much a round, and how sure that is.

Readings right after another are not independent, and not even means over stretches of them are: an
allocator that has taken a page keeps it for a while. So the noise counts in how far the residual of
a stretch resembles the one before: a first-order autoregression, whose estimate is too low by what
the fit takes away. And a table that doubles once is one event, not growth: if a single step
explains most of what a line does not, it is fitted besides.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

STRETCHES: Final = 25
_FEWEST: Final = 5
_MOST_ALIKE: Final = 0.9
_EXPLAINED: Final = 0.75
"""A step has to explain that much of the line's squared residuals, or it is noise like any."""


@dataclass(frozen=True, slots=True)
class Slope:
    """Of readings over rounds, in the readings' unit.

    Args:
        noise: standard error of `per_round`.
        step: the one jump that was fitted besides; 0 = none was.
        last: what the fit says of the end.
    """

    per_round: float
    noise: float
    step: float
    last: float


def slope(rounds: F64, readings: F64) -> Slope:
    """Fit a line, and perhaps a step, to the medians of stretches, fewer where there is little.

    Args:
        rounds: float64 [n], that had ended at each reading; ascending.
        readings: float64 [n].
    """
    num = min(STRETCHES, len(readings) // 2)
    assert num > _FEWEST, "too few readings"
    x = np.array([a.mean() for a in np.array_split(rounds, num)])
    y = np.array([np.median(a) for a in np.array_split(readings, num)])
    line = np.stack((np.ones(num), x - x.mean()), axis=1)
    fitted = _fit(line, y)
    steps = (_fit(np.column_stack((line, np.arange(num) >= at)), y) for at in range(2, num - 1))
    stepped = min(steps, key=lambda fit: float(fit.left @ fit.left))
    if stepped.left @ stepped.left < (1 - _EXPLAINED) * (fitted.left @ fitted.left):
        fitted = stepped
    step = float(fitted.found[2]) if len(fitted.found) > 2 else 0.0
    return Slope(float(fitted.found[1]), fitted.noise(), step, float((y - fitted.left)[-1]))


@dataclass(frozen=True, slots=True)
class _Fit:
    """Least squares.

    Args:
        design: float64 [n, k]; its second column is time.
        found: float64 [k].
        left: residuals, float64 [n].
    """

    design: F64
    found: F64
    left: F64

    def noise(self) -> float:
        """Return the standard error of the second coefficient."""
        n, k = self.design.shape
        squares = float(self.left @ self.left)
        if squares == 0.0:
            return 0.0
        alike = float(self.left[1:] @ self.left[:-1]) / squares
        alike += k * (1 + 4 * alike) / (2 * n)  # after Marriott and Pope 1954
        alike = min(max(alike, 0.0), _MOST_ALIKE)
        variance = np.linalg.inv(self.design.T @ self.design)[1, 1] * squares / (n - k)
        return float(np.sqrt(variance * (1 + alike) / (1 - alike)))


def _fit(design: F64, y: F64) -> _Fit:
    found: F64 = np.linalg.lstsq(design, y, rcond=None)[0].astype(np.float64)
    return _Fit(design, found, y - design @ found)
