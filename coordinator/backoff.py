"""Waiting after sums that failed: a full disk is not emptied by filling it again.

The next round waits 1 s, then 2 s, 4 s, ... 60 s after each that failed in a row. A commit ends the
waiting, and so does an operator's pause or resume: somebody has looked.
"""

from typing import Final

from coordinator.ports import AbortReason

FIRST_S: Final = 1.0
LONGEST_S: Final = 60.0


class Backoff:
    """See the module docstring."""

    def __init__(self) -> None:
        self._failures = 0
        self._since_s = 0.0
        self._until_s = 0.0
        self._why = ""

    def failed(self, reason: AbortReason, detail: str, now_s: float) -> None:
        """A sum could not become a version."""
        if self._failures == 0:
            self._since_s = now_s
        self._until_s = now_s + min(FIRST_S * 2.0 ** min(self._failures, 30), LONGEST_S)
        self._failures += 1
        self._why = f"{reason.value}: {detail}"

    def end(self) -> None:
        """There is no reason to wait any more."""
        self._failures, self._until_s = 0, 0.0

    def holds(self, now_s: float) -> bool:
        """Return whether no cohort may close yet."""
        return now_s < self._until_s

    def sentence(self, now_s: float) -> str:
        """Return why rounds fail, since when, and when the next may begin; "" if they do not."""
        if not self._failures:
            return ""
        held = self.holds(now_s)
        then = f"the next in {self._until_s - now_s:.1f} s at the earliest; " if held else ""
        rounds = "round" if self._failures == 1 else f"{self._failures} rounds"
        return (
            f"{then}the last {rounds} failed, for {now_s - self._since_s:.1f} s now ({self._why})"
        )
