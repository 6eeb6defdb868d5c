"""How long to wait before the same call is made again.

Failures wait ever longer, with jitter, so that many callers do not come back together. Where the
other side was only busy and said when to come back, that is obeyed, a little later each by another
measure, but never for longer than `LONGEST_TOLD_S`; it counts as no failure.
"""

import random
from typing import Final

LONGEST_TOLD_S: Final = 300.0
"""Before jitter: a wait that the other side may ask for, whoever it is and whatever it says."""


class RetryBackoff:
    """See the module docstring.

    Args:
        first_s: after the first failure, on average; the next ones wait twice as long each.
        longest_s: at most, on average.
    """

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = self._pause_s = first_s
        self._longest_s = longest_s

    def reset(self) -> None:
        """A call succeeded."""
        self._pause_s = self._first_s

    def wait_s(self, told_s: float | None) -> float:
        """Return how long to wait now.

        Args:
            told_s: when the other side wants to be asked again; None: the call failed.
        """
        if told_s is not None:
            return min(told_s, LONGEST_TOLD_S) * random.uniform(1.0, 1.5)  # noqa: S311 - jitter
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, self._longest_s)
        return pause_s * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
