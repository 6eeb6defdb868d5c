"""A worker's part in one round after the other: what it sends, in which order, and what is late.

    Planned --> freeze --> answer --Named--> encode --Encoded--> push
    Survived --> signature, or where S is U2 at once --> shares          (masked tier)
    Ended    --> abandon, unless a share may have been revealed          (masked tier)

What it may say is for `round.py` and the tier's attempt to decide. Here is the order: an answer,
the last byte of a payload, and that a share may have been revealed are durable before they are
sent; and once one may have been revealed the round is never abandoned. `TAKES` says which message
is late in which phase: it changes nothing and is noted.
"""

import enum
from collections.abc import Mapping
from typing import Final

from common.documents import Genesis, Plan, Record
from common.errors import DivergedError
from common.ids import RoundId, WorkerId
from common.rounds import Rule
from worker.rounds.pace import OwnPace
from worker.rounds.ports import (
    Abandon,
    CancelUpload,
    Encode,
    Encoded,
    Ended,
    ForgetState,
    Freeze,
    JudgePlan,
    Named,
    Note,
    Push,
    Refuse,
    Send,
    Settle,
    Signed,
    Steps,
    SubmitAnswer,
    SubmitShares,
    SubmitSignature,
    Survived,
    WriteStage,
    ask,
)
from worker.rounds.position import Position
from worker.rounds.round import Fate, RefusedError, Stage, WorkerRound, WorkState
from worker.rounds.tier import Attempt, Tier


class RoundPhase(enum.Enum):
    """How far this process has come in its round."""

    FREE = "free"  # there is none
    STAGED = "staged"  # its work is frozen, and no byte of it was sent
    EXPOSED = "exposed"
    REVEALED = "revealed"  # a share may have been sent
    REMEMBERED = "remembered"  # of a former process, whose secrets went with it
    SILENT = "silent"  # the same, where a share may have been sent


_ALIVE: Final = frozenset({RoundPhase.EXPOSED, RoundPhase.REVEALED})

TAKES: Final[Mapping[type, frozenset[RoundPhase]]] = {
    Named: _ALIVE | {RoundPhase.STAGED},
    Encoded: _ALIVE,
    Survived: _ALIVE,
    Signed: _ALIVE,
    Ended: frozenset({RoundPhase.STAGED, RoundPhase.EXPOSED, RoundPhase.REMEMBERED}),
}
"""In which phases a message of the round is looked at. A plan is, in every one (rule 7)."""

RoundEvent = Named | Encoded | Survived | Signed | Ended


class Participation:
    """See the module docstring.

    Args:
        resolve_timeout_s: an outcome is waited for at most so long, since a plan's limits are
            whoever's.
        unsafe: rules that are not looked at: only tests, that show what they are for, give any.
    """

    def __init__(
        self,
        name: WorkerId,
        genesis: Genesis,
        tier: Tier,
        pace: OwnPace,
        resolve_timeout_s: float,
        unsafe: frozenset[Rule] = frozenset(),
    ) -> None:
        self._name = name
        self._genesis = genesis
        self._tier = tier
        self._pace = pace
        self._resolve_timeout_s = resolve_timeout_s
        self._unsafe = unsafe
        self.round = WorkerRound(name, genesis.algorithm.colluding, unsafe=unsafe)
        self.contributed = ""  # round whose work is in the next version that is reached
        self.finishing = False
        self._attempt: Attempt | None = None
        self._staged_at_s = 0.0
        self._loss_2_20 = 0
        self._uploading = ""  # round of which `Encode` was asked for

    @property
    def phase(self) -> RoundPhase:
        """How far it has come."""
        if (stage := self.round.stage) is None:
            return RoundPhase.FREE
        if self._attempt is None:
            return RoundPhase.SILENT if stage.revealed else RoundPhase.REMEMBERED
        if stage.revealed:
            return RoundPhase.REVEALED
        return RoundPhase.EXPOSED if stage.exposed else RoundPhase.STAGED

    @property
    def settled(self) -> bool:
        """Whether a save holds all: no round has frozen work, no merge waits for its version."""
        return self.round.work is WorkState.FREE and not self.contributed

    def resume(self, stage: Stage, now_s: float) -> None:
        """Take the unresolved round of a former process."""
        colluding = self._genesis.algorithm.colluding
        self.round = WorkerRound(self._name, colluding, stage, self._unsafe)
        self._staged_at_s = now_s

    # What the coordinator says --------------------------------------------------------------------

    def planned(self, plan: Plan, at: Position, num_held: int, now_s: float) -> Steps[Fate | None]:
        """Freeze the work and answer with its numbers; return its fate where it ends right here.

        Args:
            at: where the worker stands.
            num_held: records that it holds and has not followed.
            now_s: seconds of a clock that never goes back.

        Raises:
            DivergedError: the work is not finite.
        """
        if (stage := self.round.stage) is not None and stage.plan == plan:
            yield from self._answer_again(stage)
            return None
        try:
            self.round.accept(plan, at.version, at.digest, at.next_seq, num_held, behind=at.behind)
        except RefusedError as e:  # what an earlier plan froze stays: it may bear this round's id
            yield from self._refuse(e)
            return None
        complaint = yield from ask(JudgePlan(plan))
        try:
            self._judge(plan, complaint)
            self._attempt = attempt = self._tier.begin(plan)
        except RefusedError as e:
            self.round.forget(plan.round)
            yield from self._refuse(e)
            return None
        frozen = yield from ask(Freeze(plan.round))
        self._staged_at_s = now_s
        try:
            self.round.close(
                frozen.numbers,
                finite=frozen.finite,
                max_staleness=self._genesis.algorithm.max_staleness,
                most_steps=self._pace.most_steps,
            )
        except RefusedError as e:
            yield from self._refuse(e)
            if not frozen.finite:
                yield ForgetState()
                raise DivergedError(
                    f"{e.sentence}: training diverged; a restart begins anew from the head, and if "
                    "it happens again the learning rate (schedule.peak) is too high"
                ) from None
            fate = Fate.SPENT if frozen.numbers.steps > 0 else Fate.FREE
            yield from self._settle(plan.round, fate)
            return fate
        self._loss_2_20 = frozen.loss_2_20
        answer, sealed = attempt.answer(frozen.numbers)
        self.round.answered(answer)
        yield from self.write()
        yield Send(SubmitAnswer(plan.round, answer, sealed))
        return None

    def _judge(self, plan: Plan, complaint: str) -> None:
        if complaint and Rule.TERMS not in self._unsafe:  # its work would be spent for nothing
            raise RefusedError(plan.round, Rule.TERMS, complaint)

    def _answer_again(self, stage: Stage) -> Steps[None]:
        """The plan came again after a broken stream: the answer may be lost."""
        if self._attempt is not None and stage.answer is not None:
            answer, sealed = self._attempt.answer(stage.answer.numbers)
            yield Send(SubmitAnswer(stage.plan.round, answer, sealed))

    def handle(self, event: RoundEvent) -> Steps[None]:
        """Do what a message of the round asks for, if it is not late.

        After a restart everything is, but an End: this process may only abandon (rule 10).
        """
        stage, attempt = self.round.stage, self._attempt
        if stage is None or self.phase not in TAKES[type(event)]:
            yield self._late(event)
            return
        if isinstance(event, Ended):
            yield from self._ended(event, stage)
            return
        assert attempt is not None  # or `TAKES` is wrong
        if event.round != stage.plan.round and not isinstance(event, Named):  # that is refused
            yield self._late(event)
            return
        match event:
            case Named():
                yield from self._named(event, stage, attempt)
            case Encoded():
                if event.round == self._uploading:
                    yield from self.write()
                    yield Push(stage.plan.round)
            case Survived():
                yield from self._survived(event, attempt)
            case Signed():
                yield from self._reveal(event.round, event.signatures, attempt)

    def _late(self, event: RoundEvent) -> Note:
        kind = type(event).__name__.lower()
        sentence = f"{kind}, of round {event.round[:8]}: late, this worker is {self.phase.value}"
        return Note(sentence, event.round)

    def _named(self, event: Named, stage: Stage, attempt: Attempt) -> Steps[None]:
        """U2 is known: encode and upload, in the background."""
        try:
            if not self.round.name(event.round, event.answers):
                return  # again, after a broken stream: the upload goes on
            attempt.named(event.answers, event.sealed)
        except RefusedError as e:
            yield from self._refuse(e)
            return
        self.round.expose(event.answers, attempt.kappa)
        self._uploading = stage.plan.round
        numbers = {worker: answer.numbers for worker, answer in event.answers.items()}
        yield Encode(stage.plan, numbers, attempt, self._loss_2_20, self._tier.max_clip)

    def _survived(self, event: Survived, attempt: Attempt) -> Steps[None]:
        try:
            signature = attempt.survived(event.survivors)
        except RefusedError as e:
            yield from self._refuse(e)
            return
        if signature is None:
            yield from self._reveal(event.round, {}, attempt)
        else:
            yield Send(SubmitSignature(event.round, signature))

    def _reveal(
        self, round_id: RoundId, signatures: Mapping[WorkerId, bytes], attempt: Attempt
    ) -> Steps[None]:
        try:
            revealed = attempt.reveal(signatures)
        except RefusedError as e:
            yield from self._refuse(e)
            return
        if self.phase is not RoundPhase.REVEALED:
            self.round.reveal()
            yield from self.write()
        yield Send(SubmitShares(round_id, revealed))

    def _ended(self, event: Ended, stage: Stage) -> Steps[None]:
        if not stage.plan.masked or event.round != stage.plan.round:
            yield self._late(event)
            return
        yield from self._cancel()
        if self._attempt is None:
            signature = self._tier.abandon(stage.plan)
        else:
            signature = self._attempt.abandon()
        yield Send(Abandon(event.round, signature))

    def _refuse(self, e: RefusedError) -> Steps[None]:
        if self.finishing and e.rule is Rule.OFFER:  # it took its offer back; a Leave follows
            yield Note(f"round {e.round[:8]} goes on without this worker, which ends", e.round)
        else:
            yield Send(Refuse(e.round, e.rule, e.sentence))

    # What ends it ---------------------------------------------------------------------------------

    def resolve(self, record: Record) -> Steps[Fate | None]:
        """Return what a record makes of the frozen work, and have it so; None = nothing."""
        stage, fate = self.round.stage, self.round.resolve(record)
        if stage is not None and fate is not None:
            yield from self._cancel()
            yield from self._settle(stage.plan.round, fate)
        return fate

    def give_up(self, now_s: float) -> Steps[bool]:
        """End a masked round whose outcome was waited for long enough; return whether it was."""
        stage = self.round.stage
        if stage is None or not stage.plan.masked:
            return False
        if now_s - self._staged_at_s <= stage.patience_s(self._resolve_timeout_s):
            return False
        lost = stage.plan.round
        yield Note(f"round {lost[:8]}: nobody says how it ended", lost, is_warning=True)
        yield from self._cancel()
        yield from self._settle(lost, self.round.give_up())
        return True

    def leave(self) -> Steps[None]:
        """End a round that the log has gone past: no record to come can say how it ended."""
        if (stage := self.round.stage) is not None:
            yield from self._cancel()
            yield from self._settle(stage.plan.round, self.round.give_up())

    def write(self) -> Steps[None]:
        """Make the stage durable as it is."""
        if self.round.stage is not None:
            yield WriteStage(self.round.stage)

    def _settle(self, round_id: RoundId, fate: Fate) -> Steps[None]:
        self._attempt = None
        if fate is Fate.CONTRIBUTED:
            self.contributed = round_id
        yield Settle(round_id, fate)

    def _cancel(self) -> Steps[None]:
        if self._uploading:
            self._uploading = ""
            yield CancelUpload()
