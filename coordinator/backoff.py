"""Waits after rounds that would fail again: a full disk is not emptied by filling it again.

The next round waits 1 s, then 2 s, 4 s, ... 60 s after each that failed in a row: because its sum
could not become a version, because shares did not fit, or because too few were left after somebody
refused (who was merely lost is not in the next cohort anyway). A commit ends the waiting, and so
does an operator: a pause, a resume, a name taken off the list; somebody has looked.

Where one worker is to blame, known by name, nobody else waits: that worker alone is left out of
cohorts for the same times, until a commit has it among the survivors. So it spoils a round a minute
at most, instead of all of them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from common.ids import WorkerId

FIRST_S: Final = 1.0
LONGEST_S: Final = 60.0


@dataclass(slots=True)
class _Failures:
    """How often in a row, since when, until when it is waited for, and why the newest one."""

    number: int
    since_s: float
    until_s: float
    why: str


class Backoff:
    """See the module docstring."""

    def __init__(self) -> None:
        self._of: dict[WorkerId | None, _Failures] = {}  # None: nobody is known to be to blame

    def failed(self, why: str, now_s: float, blamed: WorkerId | None = None) -> None:
        """A round failed in a way that the next one would."""
        former = self._of.get(blamed, _Failures(0, now_s, now_s, ""))
        wait_s = min(FIRST_S * 2.0 ** min(former.number, 30), LONGEST_S)
        self._of[blamed] = _Failures(former.number + 1, former.since_s, now_s + wait_s, why)

    def committed(self, survivors: Collection[WorkerId]) -> None:
        """A sum became a version."""
        self._of = {w: f for w, f in self._of.items() if w is not None and w not in survivors}

    def end(self) -> None:
        """There is no reason to wait any more."""
        self._of = {}

    def holds(self, now_s: float) -> bool:
        """Return whether no cohort may close yet."""
        return None in self._of and now_s < self._of[None].until_s

    def left_out(self, now_s: float) -> frozenset[WorkerId]:
        """Return who may be in no cohort yet."""
        return frozenset(w for w, f in self._of.items() if w is not None and now_s < f.until_s)

    def sentences(self, now_s: float) -> tuple[str, ...]:
        """Return why rounds fail, since when, and when the next may begin; none if they do not."""
        return tuple(
            _sentence(worker, failures, now_s)
            for worker, failures in sorted(self._of.items(), key=lambda item: item[0] or "")
        )


def _sentence(worker: WorkerId | None, f: _Failures, now_s: float) -> str:
    wait_s = f.until_s - now_s
    if worker is None:
        held = f"the next in {wait_s:.1f} s at the earliest; " if wait_s > 0 else ""
        rounds = "round" if f.number == 1 else f"{f.number} rounds"
        return f"{held}the last {rounds} failed, for {now_s - f.since_s:.1f} s now ({f.why})"
    held = f", left out for {wait_s:.1f} s more" if wait_s > 0 else ""
    rounds = "1 round" if f.number == 1 else f"{f.number} rounds"
    return f"{worker} spoilt {rounds}, for {now_s - f.since_s:.1f} s now ({f.why}){held}"
