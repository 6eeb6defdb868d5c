r"""How each round went, for `metrics.jsonl`: phases with their durations, outcome, who took part.

The log says what a round decided; how long its phases took is nowhere else. It is told of every
effect that was carried out, and decides nothing. At most the rounds since the last `take` are held.

    share_keys -> collect_masked -> unmask -> commit      as coordinator/round.py has them; `commit`
                                \-> ending                is the sum and its way to the disk
"""

from collections.abc import Callable
from typing import Any

from common.documents import Plan, Record
from common.rounds import COMMIT, Phase
from coordinator.ports import Append, Compute, Effect, End, OpenSpool, Seal, Send


class RoundTimes:
    """See the module docstring.

    Args:
        now_s: monotonic clock.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._plan: Plan | None = None
        self._phase = ""
        self._since_s = 0.0
        self._phases_s: dict[str, float] = {}
        self._newest_phases_s: dict[str, float] = {}
        self._ended: list[dict[str, Any]] = []

    def effect(self, effect: Effect) -> None:
        """An effect was carried out."""
        match effect:
            case Send(_, Plan() as plan) if self._plan is None or plan.round != self._plan.round:
                self._plan, self._phase, self._phases_s = plan, "", {}
                self._enter(Phase.SHARE_KEYS.value)
            case OpenSpool():
                self._enter(Phase.COLLECT_MASKED.value)
            case Seal():
                self._enter(Phase.UNMASK.value)
            case Compute():
                self._enter(COMMIT)
            case Send(_, End()):
                self._enter(Phase.ENDING.value)
            case Append(record) if record.commit is not None or record.abort is not None:
                self._end(record)

    @property
    def newest_phases_s(self) -> dict[str, float]:
        """How long the newest round that ended was in each phase; nothing of a former leader's."""
        return self._newest_phases_s

    def take(self) -> list[dict[str, Any]]:
        """Return the rounds that ended since the last call, oldest first, ready for JSON."""
        taken, self._ended = self._ended, []
        return taken

    def _enter(self, phase: str) -> None:
        if self._plan is None or phase == self._phase:
            return
        now_s = self._now_s()
        if self._phase:
            spent_s = now_s - self._since_s
            self._phases_s[self._phase] = self._phases_s.get(self._phase, 0.0) + spent_s
        self._phase, self._since_s = phase, now_s

    def _end(self, record: Record) -> None:
        self._enter("over")
        plan, phases_s = self._plan, self._phases_s
        self._plan, self._phase, self._phases_s = None, "", {}
        closed_s = float(record.counters.elapsed_s)
        if plan is None:  # an earlier coordinator's round
            phases_s = {}
        else:
            closed_s = plan.hours * 3600
        self._newest_phases_s = phases_s
        if (commit := record.commit) is not None:
            round_id, outcome, detail = commit.plan.round, "committed", ""
            staleness = {w: round(commit.numbers[w].age_256 / 256, 3) for w in commit.survivors}
            lost = sorted(set(commit.plan.roster) - set(commit.survivors))
        else:
            assert record.abort is not None
            abort = record.abort
            round_id, outcome, detail = abort.round, abort.reason, abort.detail
            staleness, lost = {}, list(abort.roster)
        self._ended.append(
            {
                "round": round_id,
                "version": record.version,
                "outcome": outcome,
                "detail": detail,
                "closed_s": round(closed_s, 3),
                "phases_s": {phase: round(s, 4) for phase, s in phases_s.items()},
                "staleness": staleness,
                "lost": lost,
            }
        )
