"""One round: the life of one closed cohort.

    collecting_offers -> share_keys -> collect_masked -> unmask -> committed
                              '--------------'-------------'-----> aborted(reason)

`share_keys` waits for every member's numbers at close, `collect_masked` for every member's upload.
Members hear of `collect_masked` once the spool takes uploads, and have their time from then on.
Each ends early when all have answered, and late at its deadline: whoever refused, was lost or is
late is left out. The round aborts as soon as fewer than the plan's threshold are left. In the tls
tier `unmask` asks nobody: the spool is sealed, its listing is the survivors, and they are summed.

A member's session is fixed when the cohort closes: a worker that joins anew is lost to the round.
A member whose upload is complete stays in the sum even if it is lost later, unless it is expelled.

Messages that are late, foreign or for another phase raise and change nothing; a repeated one is
accepted and changes nothing. It appends nothing to the log: `outcome` says how the round ended.
"""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from common import canonical
from common.documents import Abort, Algorithm, Numbers, Plan
from common.errors import NotAMemberError, UnexpectedMessageError
from common.ids import RoundId, SessionId, WorkerId
from common.weight import check_numbers
from coordinator.ports import (
    AbortReason,
    Compute,
    Computed,
    ComputeFailed,
    Effect,
    Members,
    OpenSpool,
    Put,
    Save,
    Seal,
    Send,
    Table,
)


class Phase(enum.Enum):
    """Where a round is. Values are stable: they are stored, shown and exported as metrics."""

    COLLECTING_OFFERS = "collecting_offers"
    SHARE_KEYS = "share_keys"
    COLLECT_MASKED = "collect_masked"
    UNMASK = "unmask"
    COMMITTED = "committed"
    ABORTED = "aborted"


NEXT_PHASES: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.COLLECTING_OFFERS: frozenset({Phase.SHARE_KEYS}),
    Phase.SHARE_KEYS: frozenset({Phase.COLLECT_MASKED, Phase.ABORTED}),
    Phase.COLLECT_MASKED: frozenset({Phase.UNMASK, Phase.ABORTED}),
    Phase.UNMASK: frozenset({Phase.COMMITTED, Phase.ABORTED}),
    Phase.COMMITTED: frozenset(),
    Phase.ABORTED: frozenset(),
}

OPEN: Final = "open"
"""Field of the round table: the open round, a `SavedRound`."""

OUTCOME: Final = "outcome"
"""Field of the round table: seq of the record that ended its round."""


@dataclass(frozen=True, slots=True)
class SavedRound:
    """What the store keeps of the open round.

    Args:
        num_records: length of the log when the cohort closed; a round's outcome is not before it.
        phase: a Phase's value.
        numbers: of U2, once `share_keys` is over.
        survivors: S, once the spool is sealed.
    """

    num_records: int
    plan: Plan
    phase: str
    numbers: Mapping[str, Numbers]
    survivors: tuple[WorkerId, ...]


@dataclass(slots=True)
class Round:
    """See the module docstring.

    Args:
        sessions: each member's newest session.
        num_records: length of the log when the cohort closed.
        since_s: when the phase began, or what it waits for now.
        members: who can still be in the sum.
        left: who was left out, and why.
        numbers: at close, of whoever sent them; from `collect_masked` on exactly those of U2.
        survivors: S, once the spool is sealed.
        spool_open: uploads may lie in the spool.
        uploads_taken: the spool said that it takes them.
        outcome: how the round ended.
    """

    plan: Plan
    algorithm: Algorithm
    num_records: int
    sessions: dict[WorkerId, SessionId]
    phase: Phase = Phase.COLLECTING_OFFERS
    since_s: float = 0.0
    deadline_s: float = math.inf
    members: set[WorkerId] = field(default_factory=set)
    left: dict[WorkerId, str] = field(default_factory=dict)
    numbers: dict[WorkerId, Numbers] = field(default_factory=dict)
    uploaded: set[WorkerId] = field(default_factory=set)
    survivors: tuple[WorkerId, ...] = ()
    spool_open: bool = False
    uploads_taken: bool = False
    outcome: Computed | Abort | None = None

    @property
    def id(self) -> RoundId:
        """The round's name."""
        return self.plan.round

    def waiting_for(self) -> tuple[WorkerId, ...]:
        """Return the members that the phase still waits for, sorted."""
        match self.phase:
            case Phase.SHARE_KEYS:
                return tuple(sorted(self.members - self.numbers.keys()))
            case Phase.COLLECT_MASKED:
                return tuple(sorted(self.members - self.uploaded))
        return ()

    # What members and the shell's processes say ---------------------------------------------------

    def answer(self, worker: WorkerId, numbers: Numbers) -> None:
        """A member sent its numbers at close."""
        self._check_member(worker)
        if (first := self.numbers.get(worker)) is not None:
            if first != numbers:
                raise UnexpectedMessageError(f"{worker} has already sent other numbers")
            return
        assert self.phase is Phase.SHARE_KEYS  # later on, members have numbers
        check_numbers(worker, numbers, self.algorithm)
        self.numbers[worker] = numbers

    def refuse(self, worker: WorkerId, rule: int, sentence: str) -> None:
        """A member will not take part."""
        why = f"refused by rule {rule}: {sentence}"
        if self.left.get(worker) == why:
            return
        self._check_member(worker)
        if worker in self.uploaded or self.phase is Phase.UNMASK:
            raise UnexpectedMessageError(f"{worker} cannot refuse once its upload is complete")
        self._leave_out(worker, why)

    def upload(self, worker: WorkerId) -> None:
        """A member's upload is complete in the spool."""
        self._check_member(worker)
        if not self.uploads_taken:
            raise UnexpectedMessageError(f"{worker} uploads before the members are known")
        self.uploaded.add(worker)

    def lose(self, worker: WorkerId, why: str, *, expelled: bool = False) -> None:
        """Wait no longer for a worker; an upload that is complete counts all the same."""
        sealed = bool(self.survivors)
        if worker in self.members and not sealed and (expelled or worker not in self.uploaded):
            self._leave_out(worker, why)

    def rejoin(self, worker: WorkerId, session: SessionId) -> tuple[Effect, ...]:
        """A member's stream was opened anew: send again what it may not have had."""
        if worker not in self.members:
            return ()
        self.sessions[worker] = session
        if self.phase is Phase.SHARE_KEYS and worker not in self.numbers:
            return (Send(session, self.plan),)
        collecting = self.phase is Phase.COLLECT_MASKED and self.uploads_taken
        if collecting and worker not in self.uploaded:
            return (Send(session, self._u2()),)
        return ()

    def open_uploads(self, now_s: float) -> tuple[Effect, ...]:
        """The spool takes uploads: tell the members; a repeated word of it changes nothing."""
        if self.phase is not Phase.COLLECT_MASKED:
            raise UnexpectedMessageError(f"no spool is to be opened in {self.phase.value}")
        if self.uploads_taken:
            return ()
        self.uploads_taken = True
        self.since_s, self.deadline_s = now_s, now_s + self.plan.upload_timeout_s
        return tuple(Send(self.sessions[w], self._u2()) for w in self.numbers if w in self.members)

    def seal(self, listing: tuple[WorkerId, ...], now_s: float) -> tuple[Effect, ...]:
        """The spool is sealed: S is who is in its listing and was not left out."""
        if self.phase is not Phase.UNMASK:
            raise UnexpectedMessageError(f"nothing is to be sealed in {self.phase.value}")
        if self.survivors:
            return ()
        for worker in sorted(self.members - set(listing)):
            self._leave_out(worker, "its upload was late")
        if self._ends_below_threshold():
            return ()
        self.survivors = tuple(sorted(self.members))
        self.since_s = now_s
        return (Save((self.saved(),)), Compute(self.plan, dict(self.numbers), self.survivors))

    def compute(self, event: Computed) -> None:
        """The sum became a version."""
        self._check_computing()
        assert event.commit.plan == self.plan
        assert event.commit.survivors == self.survivors
        self.phase, self.outcome = self._next(Phase.COMMITTED), event

    def fail(self, event: ComputeFailed) -> None:
        """The sum could not become a version."""
        self._check_computing()
        self.abort(event.reason, event.detail)

    # What time does -------------------------------------------------------------------------------

    def open(self, now_s: float) -> tuple[Effect, ...]:
        """Tell every member of the plan. Save `saved()` first."""
        self.members = set(self.plan.roster)
        self._enter(Phase.SHARE_KEYS, now_s, self.plan.key_timeout_s)
        return tuple(Send(self.sessions[w], self.plan) for w in self.plan.roster)

    def advance(self, now_s: float) -> tuple[Effect, ...]:
        """Go on to the next phase if it is time; to be asked after every event."""
        if self.outcome is not None or self.phase is Phase.UNMASK or self._ends_below_threshold():
            return ()
        late = self.waiting_for()
        if late and now_s < self.deadline_s:
            return ()
        if self.phase is Phase.COLLECT_MASKED:
            self._enter(Phase.UNMASK, now_s, math.inf)
            return (Save((self.saved(),)), Seal(self.id))  # the listing decides who was late
        for worker in late:
            self._leave_out(worker, "its numbers were late")
        if self._ends_below_threshold():
            return ()
        self.numbers = {w: self.numbers[w] for w in sorted(self.members)}  # from here on, of U2
        self.spool_open = True
        self._enter(Phase.COLLECT_MASKED, now_s, self.plan.upload_timeout_s)
        return (
            Save((self.saved(),)),
            OpenSpool(self.id, tuple(self.numbers), self.plan.bits),
        )

    def abort(self, reason: AbortReason, detail: str) -> None:
        """End the round without a step."""
        self.phase = self._next(Phase.ABORTED)
        self.outcome = Abort(self.id, self.plan.roster, reason.value, detail)

    def saved(self) -> Put:
        """Return what the store is to keep."""
        u2_is_known = self.phase is not Phase.SHARE_KEYS
        numbers = {str(w): n for w, n in self.numbers.items()} if u2_is_known else {}
        state = SavedRound(self.num_records, self.plan, self.phase.value, numbers, self.survivors)
        return Put(Table.ROUND, OPEN, canonical.encode(state))

    # ----------------------------------------------------------------------------------------------

    def _next(self, phase: Phase) -> Phase:
        assert phase in NEXT_PHASES[self.phase], f"{self.phase} -> {phase}"
        return phase

    def _u2(self) -> Members:
        return Members(self.id, dict(self.numbers))

    def _enter(self, phase: Phase, now_s: float, timeout_s: float) -> None:
        self.phase = self._next(phase)
        self.since_s, self.deadline_s = now_s, now_s + timeout_s

    def _leave_out(self, worker: WorkerId, why: str) -> None:
        self.members.discard(worker)
        self.uploaded.discard(worker)
        self.left[worker] = why

    def _ends_below_threshold(self) -> bool:
        if self.outcome is None and len(self.members) < self.plan.threshold:
            left = "; ".join(f"{w}: {why}" for w, why in sorted(self.left.items()))
            detail = f"members left: {len(self.members)}, needed: {self.plan.threshold} ({left})"
            self.abort(AbortReason.BELOW_THRESHOLD, detail)
        return self.outcome is not None

    def _check_member(self, worker: WorkerId) -> None:
        if worker not in self.members:
            why = self.left.get(worker, "it is not in the plan")
            raise NotAMemberError(f"{worker} has no part in round {self.id}: {why}")

    def _check_computing(self) -> None:
        if not self.survivors:
            raise UnexpectedMessageError(f"nothing is being computed in {self.phase.value}")
