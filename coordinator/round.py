"""One round: the life of one closed cohort.

    collecting_offers -> share_keys -> collect_masked -> unmask -> committed
                              |              |              |
                              |              '----> ending <'
                              '-------------'---------'-----> aborted(reason)

`share_keys` waits for every member's answer, `collect_masked` for every member's upload. Members
hear of `collect_masked` once the spool takes uploads, and have their time from then on. Each ends
early when all have answered, and late at its deadline: whoever refused, was lost or is late is left
out. The round aborts as soon as fewer than the plan's threshold are left.

In `unmask` the spool is sealed, and its listing is the survivors. In the tls tier they are summed
at once. In the masked tier the survivors reveal what takes the masks off their sum
(`unmask.py`), and a round that fails after its members were named waits in `ending` until enough of
them have said that they will never reveal anything, for only that frees their work (`ending.py`).

A member's session is fixed when the cohort closes: a worker that joins anew is lost to the round.
A member whose upload is complete stays in the sum even if it is lost later, unless it is expelled.

Messages that are late, foreign or for another phase raise and change nothing; a repeated one is
accepted and changes nothing: which is which, `phases.py` says. A round appends nothing to the log:
`outcome` says how it ended.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from common import canonical
from common.documents import Abort, Algorithm, Answer, Plan
from common.errors import UnexpectedMessageError
from common.ids import RoundId, SessionId, WorkerId
from common.rounds import AbortReason, LeaveReason, Phase
from common.weight.numbers import check_numbers
from coordinator.cohort import RoundCohort
from coordinator.ending import Ending
from coordinator.phases import NEXT_PHASES, RoundStep, check_taken
from coordinator.ports import (
    Abandoned,
    Answered,
    Compute,
    Computed,
    ComputeFailed,
    Effect,
    End,
    Listed,
    Message,
    OpenSpool,
    Put,
    Refused,
    Revealed,
    Save,
    Seal,
    Sealed,
    Send,
    SpoolOpened,
    Table,
    Uploaded,
)
from coordinator.saved_round import OPEN, SavedRound
from coordinator.unmask import Unmasking, check_answer


@dataclass(slots=True)
class Round:
    """See the module docstring.

    Args:
        sessions: each member's newest session.
        num_records: length of the log when the cohort closed.
        resolve_timeout_s: for `ending`.
        since_s: when the phase began, or what it waits for now.
        survivors: S, once the spool is sealed.
        spool_open: uploads may lie in the spool.
        gone: members that `unmask` does not wait for: see `unmask.py`.
        unmasking: in the masked tier, once S is known.
        failed: why the round aborts; in `ending` that is not its outcome yet.
        ending: who will never reveal a share.
        uploads_taken: the spool said that it takes them.
        outcome: how the round ended.
        blamed: whose update could not be summed, where that is known.
        refused: somebody would not take part.
    """

    plan: Plan
    algorithm: Algorithm
    num_records: int
    sessions: dict[WorkerId, SessionId]
    resolve_timeout_s: float
    phase: Phase = Phase.COLLECTING_OFFERS
    since_s: float = 0.0
    deadline_s: float = math.inf
    cohort: RoundCohort = field(init=False)
    survivors: tuple[WorkerId, ...] = ()
    spool_open: bool = False
    gone: Collection[WorkerId] = ()
    unmasking: Unmasking | None = None
    failed: Abort | None = None
    ending: Ending | None = None
    uploads_taken: bool = False
    outcome: Computed | Abort | None = None
    blamed: WorkerId | None = None
    refused: bool = False

    def __post_init__(self) -> None:
        """Nobody has said anything yet."""
        self.cohort = RoundCohort(self.plan)

    @classmethod
    def inherited(
        cls, saved: SavedRound, algorithm: Algorithm, resolve_timeout_s: float, detail: str
    ) -> "Round":
        """Return an earlier coordinator's round: it can only end."""
        found = cls(saved.plan, algorithm, saved.num_records, {}, resolve_timeout_s)
        phase = Phase(saved.phase)
        found.phase = Phase.UNMASK if phase is Phase.ENDING else phase
        found.spool_open = True
        found.uploads_taken = phase is not Phase.SHARE_KEYS
        found.abort(AbortReason.COORDINATOR_RESTARTED, detail)
        return found

    @property
    def would_fail_again(self) -> bool:
        """Whether, of what ended the round, the next one would find the same."""
        match self.failed and AbortReason(self.failed.reason):
            case None | AbortReason.STOPPED | AbortReason.COORDINATOR_RESTARTED:
                return False
            case AbortReason.BELOW_THRESHOLD:
                return self.refused
        return True

    @property
    def id(self) -> RoundId:
        """The round's name."""
        return self.plan.round

    @property
    def step(self) -> RoundStep:
        """What it waits for."""
        match self.phase:
            case Phase.SHARE_KEYS:
                return RoundStep.ANSWERS
            case Phase.COLLECT_MASKED:
                return RoundStep.UPLOADS if self.uploads_taken else RoundStep.SPOOL
            case Phase.UNMASK if not self.survivors:
                return RoundStep.LISTING
            case Phase.UNMASK if self.unmasking is not None:
                return RoundStep.MASKED_SUM if self.unmasking.done else RoundStep.SHARES
            case Phase.UNMASK:
                return RoundStep.OPEN_SUM
            case Phase.ENDING:
                return RoundStep.ABANDONS
        return RoundStep.NOTHING

    def waiting_for(self) -> tuple[WorkerId, ...]:
        """Return the members that the phase still waits for, sorted."""
        match self.phase:
            case Phase.SHARE_KEYS:
                return tuple(sorted(self.cohort.members - self.cohort.answers.keys()))
            case Phase.COLLECT_MASKED:
                return tuple(sorted(self.cohort.members - self.cohort.uploaded))
            case Phase.UNMASK if self.unmasking is not None:
                return self.unmasking.waiting_for(self.gone)
            case Phase.ENDING if self.ending is not None:
                return self.ending.waiting_for()
        return ()

    # What members and the shell's processes say ---------------------------------------------------

    def answer(self, worker: WorkerId, answer: Answer, sealed: Mapping[WorkerId, bytes]) -> None:
        """A member answered the plan."""
        self.cohort.check(worker)
        if (first := self.cohort.answers.get(worker)) is not None:
            if (first, self.cohort.sealed[worker]) != (answer, sealed):
                raise UnexpectedMessageError(f"{worker} has already sent another answer")
            return
        self._check(Answered, worker)
        check_answer(self.plan, worker, answer, sealed)
        check_numbers(worker, answer.numbers, self.algorithm)
        self.cohort.answers[worker], self.cohort.sealed[worker] = answer, sealed

    def sign(self, worker: WorkerId, signature: bytes, now_s: float) -> tuple[Effect, ...]:
        """A survivor signed the list of survivors; with enough of them, shares are next."""
        if (told := self._revealing(Listed).sign(worker, signature)) is None:
            return ()
        self._wait(now_s, self.plan.key_timeout_s)
        return tuple(Send(self.sessions[w], told) for w in self.survivors)

    def reveal(
        self, worker: WorkerId, own: Mapping[WorkerId, bytes], mask: Mapping[WorkerId, bytes]
    ) -> None:
        """A survivor revealed its shares."""
        self._revealing(Revealed).reveal(worker, own, mask)

    def abandon(self, worker: WorkerId, signature: bytes) -> None:
        """A member will never reveal a share."""
        self._check(Abandoned, worker)
        assert self.ending is not None  # or `TAKES` is wrong
        self.ending.abandon(worker, signature)

    def refuse(self, worker: WorkerId, rule: int, sentence: str) -> str:
        """A member will not take part; return that as a sentence."""
        why = f"refused by rule {rule}: {sentence}"
        if (left := self.cohort.left.get(worker)) is not None and left.why == why:
            return why
        self.cohort.check(worker)
        revealing = self.unmasking is not None  # an upload that is complete stays in the sum
        self._check(Refused, worker, at_all=revealing or worker not in self.cohort.uploaded)
        if self.unmasking is not None:
            self.unmasking.refuse(worker, why)
        else:
            self.cohort.leave_out(worker, LeaveReason.REFUSED, why)
        self.refused = True
        return why

    def upload(self, worker: WorkerId) -> None:
        """A member's upload is complete in the spool."""
        self.cohort.check(worker)
        self._check(Uploaded, worker)
        self.cohort.uploaded.add(worker)

    def lose(self, worker: WorkerId, reason: LeaveReason, detail: str = "") -> None:
        """Wait no longer for a worker; an upload that is complete counts, unless it is expelled."""
        if not self.survivors:
            self.cohort.lose(worker, reason, detail)

    def rejoin(self, worker: WorkerId, session: SessionId) -> tuple[Effect, ...]:
        """A member's stream was opened anew: send again what it may not have had."""
        if worker not in self.plan.roster:
            return ()
        self.sessions[worker] = session  # whoever was left out may still hold work that is exposed
        if self.phase is Phase.ENDING:
            return (Send(session, End(self.id)),)
        if worker not in self.cohort.members:
            return ()
        return tuple(Send(session, message) for message in self._missed(worker))

    def _missed(self, worker: WorkerId) -> tuple[Message, ...]:
        match self.step:
            case RoundStep.ANSWERS if worker not in self.cohort.answers:
                return (self.plan,)
            case RoundStep.UPLOADS if worker not in self.cohort.uploaded:
                return (self.cohort.u2(worker),)
            case RoundStep.SHARES | RoundStep.MASKED_SUM if self.unmasking is not None:
                return self.unmasking.missed(worker)
        return ()

    def open_uploads(self, now_s: float) -> tuple[Effect, ...]:
        """The spool takes uploads: tell the members; a repeated word of it changes nothing."""
        self._check(SpoolOpened)
        if self.uploads_taken:
            return ()
        self.uploads_taken = True
        self._wait(now_s, self.plan.upload_timeout_s)
        u2 = (w for w in self.cohort.answers if w in self.cohort.members)
        return tuple(Send(self.sessions[w], self.cohort.u2(w)) for w in u2)

    def seal(self, listing: tuple[WorkerId, ...], now_s: float) -> tuple[Effect, ...]:
        """The spool is sealed: S is who is in its listing and was not left out."""
        self._check(Sealed)
        if self.survivors:
            return ()
        for worker in sorted(self.cohort.members - set(listing)):
            self.cohort.leave_out(worker, LeaveReason.LATE_UPLOAD)
        if self._ends_below_threshold():
            return ()
        self.survivors = tuple(sorted(self.cohort.members))
        if not self.plan.masked:
            self.since_s = now_s
            return (Save((self.saved(),)), Compute(self.plan, self.cohort.numbers, self.survivors))
        self.unmasking = Unmasking(self.plan, self.cohort.answers, self.survivors)
        self._wait(now_s, self.plan.key_timeout_s)
        told = ((w, m) for w in self.survivors for m in self.unmasking.missed(w))
        return (Save((self.saved(),)), *(Send(self.sessions[w], m) for w, m in told))

    def compute(self, event: Computed) -> None:
        """The sum became a version."""
        self._check(Computed)
        if (event.commit.plan, event.commit.survivors) != (self.plan, self.survivors):
            raise AssertionError("the version of another plan, or of other members, was computed")
        self.phase, self.outcome = self._next(Phase.COMMITTED), event

    def fail(self, event: ComputeFailed) -> None:
        """The sum could not become a version."""
        self._check(ComputeFailed)
        self.blamed = event.blamed
        self.abort(event.reason, event.detail)

    # What time does -------------------------------------------------------------------------------

    def open(self, now_s: float) -> tuple[Effect, ...]:
        """Tell every member of the plan. Save `saved()` first."""
        self.cohort.members = set(self.plan.roster)
        self._enter(Phase.SHARE_KEYS, now_s, self.plan.key_timeout_s)
        return tuple(Send(self.sessions[w], self.plan) for w in self.plan.roster)

    def advance(self, now_s: float, gone: Collection[WorkerId] = ()) -> tuple[Effect, ...]:
        """Go on to the next phase if it is time; to be asked after every event.

        Args:
            gone: members that were silent for a lease, or whose process of this round has ended.
        """
        self.gone = gone
        if self.outcome is None and self.failed is None:
            effects = self._go_on(now_s)
            return effects if self.failed is None else (*effects, *self._end(now_s))
        return self._end(now_s)

    def _go_on(self, now_s: float) -> tuple[Effect, ...]:
        if self.phase is Phase.UNMASK:
            return self._unmask(now_s)
        if self._ends_below_threshold():
            return ()
        late = self.waiting_for()
        if late and now_s < self.deadline_s:
            return ()
        if self.phase is Phase.COLLECT_MASKED:
            self._enter(Phase.UNMASK, now_s, math.inf)
            return (Save((self.saved(),)), Seal(self.id))  # the listing decides who was late
        for worker in late:
            self.cohort.leave_out(worker, LeaveReason.LATE_ANSWER)
        if self._ends_below_threshold():
            return ()
        self.cohort.close()
        self.spool_open = True
        self._enter(Phase.COLLECT_MASKED, now_s, self.plan.upload_timeout_s)
        return (
            Save((self.saved(),)),
            OpenSpool(self.id, tuple(self.cohort.answers), self.plan.bits, self.plan.fragment),
        )

    def _unmask(self, now_s: float) -> tuple[Effect, ...]:
        """Compute, once enough shares are there; abort, once they cannot be, or at the deadline."""
        if self.unmasking is None or self.unmasking.done:
            return ()
        if (secrets := self.unmasking.secrets()) is not None:
            self._wait(now_s, math.inf)
            signatures = self.unmasking.signed
            return (Compute(self.plan, self.cohort.numbers, self.survivors, secrets, signatures),)
        if now_s >= self.deadline_s or self.unmasking.hopeless(self.gone):
            self.abort(*self.unmasking.complaint(self.gone))
        return ()

    def _end(self, now_s: float) -> tuple[Effect, ...]:
        """Abort, once the members know what their work is."""
        if self.outcome is not None or self.failed is None:
            return ()
        revealed = self.unmasking is not None and self.unmasking.revealed
        if revealed or not (self.plan.masked and self.uploads_taken):  # no word can free anything
            self.phase, self.outcome = self._next(Phase.ABORTED), self.failed
            return ()
        if self.ending is None:
            self.ending = Ending(self.plan, self.algorithm.colluding)
            self.unmasking = None  # what was revealed is of no use any more
            self._enter(Phase.ENDING, now_s, self.resolve_timeout_s)
            told = (self.sessions[w] for w in self.plan.roster if w in self.sessions)
            return (Save((self.saved(),)), *(Send(session, End(self.id)) for session in told))
        if self.ending.enough or now_s >= self.deadline_s:
            self.phase = self._next(Phase.ABORTED)
            self.outcome = replace(self.failed, abandons=self.ending.signatures)
        return ()

    def abort(self, reason: AbortReason, detail: str) -> None:
        """End the round without a step."""
        if self.failed is None:
            self.failed = Abort(self.id, self.plan.roster, reason.value, detail)

    def saved(self) -> Put:
        """Return what the store is to keep."""
        u2_is_known = self.phase is not Phase.SHARE_KEYS
        numbers = {str(w): n for w, n in self.cohort.numbers.items()} if u2_is_known else {}
        state = SavedRound(self.num_records, self.plan, self.phase.value, numbers, self.survivors)
        return Put(Table.ROUND, OPEN, canonical.encode(state))

    def _next(self, phase: Phase) -> Phase:
        if phase not in NEXT_PHASES[self.phase]:
            raise AssertionError(f"{self.phase} -> {phase}")
        return phase

    def _revealing(self, event: type) -> Unmasking:
        self._check(event)
        assert self.unmasking is not None  # or `TAKES` is wrong
        return self.unmasking

    def _enter(self, phase: Phase, now_s: float, timeout_s: float) -> None:
        self.phase = self._next(phase)
        self._wait(now_s, timeout_s)

    def _wait(self, now_s: float, timeout_s: float) -> None:
        self.since_s, self.deadline_s = now_s, now_s + timeout_s

    def _ends_below_threshold(self) -> bool:
        if shortage := self.cohort.shortage():
            self.abort(AbortReason.BELOW_THRESHOLD, shortage)
        return self.failed is not None

    def _check(self, event: type, worker: WorkerId | None = None, *, at_all: bool = True) -> None:
        step = self.step if at_all else RoundStep.NOTHING
        check_taken(event, step, worker=worker, phase=self.phase.value, round=self.id)
