"""What became of one worker's work: kept outside of it, over all lives of its process.

It tells what neither the worker's disk nor the log can: which steps were frozen, how long a round
was waited for, and what giving one up did to the residual.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from common import canonical
from common.arrays import F32, F64
from common.documents import Plan
from common.ids import RoundId
from simulator.runs import TIMINGS
from worker.rounds.round import RESOLVE_PATIENCE, Stage

_RESIDUAL: Final = "residual.f32"
_STAGE: Final = "stage.json"


@dataclass
class WorkHistory:
    """See the module docstring.

    Args:
        told: is told which steps were frozen for a round.
        given: is told which version's segments the trainer is given.
        froze_s: when, by round.
        spent_s: when it was given up, likewise.
        left: what that added to the residual: e' - e, float64[length], likewise; none where it was
            given up before it was encoded.
        plans: of those that are in `left`.
    """

    told: Callable[[RoundId, frozenset[int]], None]
    given: Callable[[int, tuple[str, ...]], None]
    froze_s: dict[str, float] = field(default_factory=dict)
    spent_s: dict[str, float] = field(default_factory=dict)
    left: dict[str, F64] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)

    def froze(self, round_id: str, steps: Iterable[int], now_s: float) -> None:
        """A round closed."""
        self.froze_s[round_id] = now_s
        self.told(RoundId(round_id), frozenset(steps))

    def spent(self, round_id: str, stage: Path, now_s: float) -> None:
        """A round's work is given up.

        Args:
            stage: where it lies, beside what it was encoded to, if it was.
        """
        self.spent_s[round_id] = now_s
        if (stage / _RESIDUAL).exists():
            after = residual_in(stage).astype(np.float64)
            before = residual_in(stage.parent)
            self.left[round_id] = after - before if before.size else after
            self.plans[round_id] = canonical.decode((stage / _STAGE).read_bytes(), Stage).plan

    def waited_for(self, round_id: str) -> bool:
        """Return whether the outcome of a round that was given up had been waited for."""
        told_s = TIMINGS.key_timeout_s + TIMINGS.upload_timeout_s
        return self.spent_s[round_id] - self.froze_s[round_id] > RESOLVE_PATIENCE * told_s


def residual_in(folder: Path) -> F32:
    """Return the residual that a save or stage holds, float32[length]; empty = zero."""
    path = folder / _RESIDUAL
    return np.frombuffer(path.read_bytes() if path.exists() else b"", "<f4")
