"""One worker: its real machine, and in symbols its disk, its trainer and its network.

What the machine asks for is done at once. A seat can be stored, and taken up again any number of
times, so every way to go on from it is tried; a worker that dies before an effect goes on from what
its disk held by then.
"""

import functools
from dataclasses import dataclass, field
from typing import Final

from common.checks import check_plan
from common.documents import Attestation, Offer, Plan, Record
from common.errors import BadCommitError, DivergedError
from common.ids import WorkerId
from common.log_head import LogHead
from common.progress import MAX_ROUNDS_AHEAD
from common.rounds import Rule
from simulator.drawn import Drawn, certificate
from simulator.explorer.facts import (
    AbandonFact,
    AnswerFact,
    Fact,
    FailureFact,
    ListFact,
    OfferFact,
    RevealFact,
    SettleFact,
    StandFact,
    UploadFact,
    WordFact,
    key_of,
)
from simulator.explorer.world import (
    GENESIS,
    MODELS,
    STEPS,
    admits,
    most_share,
    numbers,
    operators,
    sign,
    true_sum,
)
from worker.rounds.attempt import MaskedMember
from worker.rounds.conduct import Conduct
from worker.rounds.masked_tier import MaskedTier
from worker.rounds.ports import (
    Abandon,
    BeginTraining,
    CancelUpload,
    Check,
    Checked,
    Effect,
    Encode,
    Encoded,
    Event,
    Followed,
    FollowRecords,
    ForgetState,
    Freeze,
    Frozen,
    JudgePlan,
    Message,
    MoveTo,
    Push,
    Recorded,
    Refuse,
    Resumed,
    RetryHead,
    SaveState,
    Send,
    Settle,
    Signed,
    StartAt,
    SubmitAnswer,
    SubmitShares,
    SubmitSignature,
    Survived,
    Trained,
    Welcomed,
    WriteStage,
)
from worker.rounds.position import Position, genesis_position
from worker.rounds.round import Fate, Stage
from worker.rounds.trust import Trust

MOST_STEPS: Final = MAX_ROUNDS_AHEAD * STEPS
_RESOLVE_S: Final = 1e6


class DiedError(Exception):
    """The process was killed before an effect."""


@dataclass
class SeatDisk:
    """What outlives a process."""

    save: SaveState | None = None
    stage: Stage | None = None
    pieces: frozenset[int] = frozenset()  # of the stage
    pending: tuple[frozenset[int], int, int] = (frozenset(), 0, 0)  # of the save; steps, born


@dataclass
class Seat:
    """See the module docstring.

    Args:
        pending: pieces of work that no round holds.
        steps: that they took.
        born: number of the version that they were begun on.
        frozen: pieces that a round holds.
        log: the records that it was shown in this session.
        facts: what it has let out.
        now_s: on its clock.
    """

    name: WorkerId
    unsafe: frozenset[Rule]
    conduct: Conduct
    disk: SeatDisk = field(default_factory=SeatDisk)
    pending: frozenset[int] = frozenset()
    steps: int = STEPS
    born: int = 0
    frozen: frozenset[int] = frozenset()
    num_pieces: int = 0
    num_lives: int = 1
    log: list[Record] = field(default_factory=list)
    facts: dict[str, Fact] = field(default_factory=dict)
    now_s: float = 0.0
    encoding: Encode | None = None
    ended: str = ""
    _left: int | None = field(default=None, repr=False)
    _served: bool = field(default=True, repr=False)

    @classmethod
    def of(cls, name: WorkerId, unsafe: frozenset[Rule]) -> "Seat":
        """Return a newcomer's."""
        return cls(name, unsafe, _conduct(name, 1, unsafe))

    @property
    def holds(self) -> int:
        """How many records it was shown that it has not followed."""
        return len(self.log) - self.conduct.position.next_seq

    # What happens ---------------------------------------------------------------------------------

    def hear(self, *events: Event, served: bool = True, slowly: bool = False) -> None:
        """Let events happen, and what follows of itself; or die before an effect, after `die_at`.

        Args:
            served: whether files that are asked for meanwhile are there.
            slowly: encoding is not done by then: `Encoded` has to come by itself.
        """
        self._served = served
        try:
            for event in events:
                if isinstance(event, Recorded):
                    self.log = [*self.log, event.record]
                if isinstance(event, Welcomed):
                    self.log = self.log[: self.conduct.position.next_seq] or [event.start]
                self._handle(event)
                if self.encoding is not None and not slowly:
                    self._handle(Encoded(self.encoding.plan.round))
                self._train()
        except DiedError:
            self._begin_again()
        except DivergedError as e:  # its own alarm: an operator looks at it
            self.ended = str(e)
        except Exception as e:
            self.ended = repr(e)
            self._tell(FailureFact(f"{type(e).__name__} at {type(event).__name__}: {e}"))

    def die_at(self, effect: int | None) -> None:
        """Die before the next so many effects are carried out; None = live."""
        self._left = effect

    def train(self) -> None:
        """Train as far as the trainer goes by itself, while the coordinator waits."""
        self.steps = MOST_STEPS
        self.hear()

    def _train(self) -> None:
        """Have a piece of work, beside what a round holds; offer it."""
        conduct = self.conduct
        if not conduct.begun:
            return
        if not self.pending:
            self.num_pieces += 1
            self.pending, self.steps = frozenset({self.num_pieces}), STEPS
            self.born = conduct.position.version
        self._handle(Trained(numbers(self.steps, self._age), 1.0, 0))

    @property
    def _age(self) -> int:
        return 256 * (self.conduct.position.version - self.born)

    def _handle(self, event: Event) -> None:
        steps, answer = self.conduct.handle(event, self.now_s), None
        while True:
            try:
                effect = steps.send(answer)
            except StopIteration:
                return
            if self._left is not None:
                if self._left == 0:
                    raise DiedError
                self._left -= 1
            answer = self._carry_out(effect, event)

    def _begin_again(self) -> None:
        """Start again from what the disk holds."""
        self.num_lives += 1
        self.encoding, self._left = None, None
        self.conduct = _conduct(self.name, self.num_lives, self.unsafe)
        self.pending, self.frozen = frozenset(), frozenset()
        save, stage = self.disk.save, self.disk.stage
        if save is not None and stage is not None:  # with the work as it was at close
            self.frozen = self.disk.pieces
        elif save is not None:
            self.pending, self.steps, self.born = self.disk.pending
        if save is not None:
            self.log = self.log[: save.position.next_seq]
            known, words = save.known, save.words
            self._handle(Resumed(save.position, known, words, save.missed, stage))

    # What the machine asks for --------------------------------------------------------------------

    def _carry_out(self, effect: Effect, event: Event) -> object:
        disk, at = self.disk, self.conduct.position
        match effect:
            case Send(message=message):
                self._send(message, event)
            case JudgePlan(plan=plan):
                try:
                    check_plan(GENESIS, MODELS.versions[at.digest], plan)
                except BadCommitError as e:
                    return str(e)
                return ""
            case Freeze():
                frozen = Frozen(numbers(self.steps, self._age), 2**20, finite=True)
                self.frozen, self.pending = self.pending, frozenset()
                return frozen
            case WriteStage(stage=stage):
                disk.stage, disk.pieces = stage, self.frozen
            case Encode():
                self.encoding = effect
            case Push():
                encoded, self.encoding = self.encoding, None
                assert encoded is not None
                kappa = encoded.attempt.kappa.hex()
                self._tell(UploadFact(encoded.plan, kappa, encoded.numbers, self.frozen))
            case CancelUpload():
                self.encoding = None
            case Settle(round=round_id, fate=fate):
                self._tell(SettleFact(round_id, fate.value))
                if fate is Fate.FREE:
                    self.pending |= self.frozen
                self.frozen = frozenset()
            case Check():
                return self._checked(effect)
            case StartAt(record=record):
                log = LogHead.at(record)
                return Position(log, record.version, record.digest) if self._served else None
            case FollowRecords(records=records):
                past = at.past(GENESIS, records)
                moved = at.leads_on(records) and self._served
                return Followed(past.caught_up() if moved else past, moved)
            case RetryHead(num_records=num):
                moved = at.waits_for_files(num) and self._served
                return Followed(at.caught_up() if moved else at, moved)
            case BeginTraining() | MoveTo():
                self._tell(StandFact(at.version, at.digest))
                if isinstance(effect, MoveTo) and effect.rolled_back:
                    self.pending = frozenset()
            case SaveState():
                disk.save, disk.stage, disk.pieces = effect, None, frozenset()
                disk.pending = self.pending, self.steps, self.born
            case ForgetState():
                self.disk = SeatDisk()
        return None

    def _send(self, message: Message, event: Event) -> None:
        match message:
            case Offer():
                self._tell(OfferFact(message))
            case SubmitAnswer():
                at = self.conduct.position
                base = at.version, at.digest
                self._tell(
                    AnswerFact(self._plan, message.answer, message.sealed, base, self.frozen)
                )
            case SubmitSignature():
                assert isinstance(event, Survived)
                self._tell(ListFact(self._plan, event.survivors, message.signature))
            case SubmitShares():
                assert isinstance(event, Survived | Signed)
                own, mask = frozenset(message.revealed.own), frozenset(message.revealed.mask)
                self._tell(RevealFact(self._plan, own, mask))
            case Abandon():
                self._tell(AbandonFact(self._plan, message.signature))
            case Attestation():
                if message.worker == self.name:
                    self._tell(WordFact(message))
            case Refuse():
                pass

    @property
    def _plan(self) -> Plan:
        stage = self.conduct.part.round.stage
        assert stage is not None
        return stage.plan

    def _checked(self, effect: Check) -> Checked:
        if not self._served:
            return Checked(gone=True)
        commit = effect.commit
        if commit.aggregate != true_sum(commit.plan, effect.kappa.hex(), commit.survivors):
            return Checked("it is not what the survivors sent")
        return Checked()

    def _tell(self, fact: Fact) -> None:
        self.facts[key_of(fact)] = fact


def _conduct(name: WorkerId, life: int, unsafe: frozenset[Rule]) -> Conduct:
    algorithm, drawn = GENESIS.algorithm, Drawn(f"{name}/{life}")
    trust = Trust(
        min_cohort=algorithm.min_cohort,
        max_share=most_share(is_lenient=Rule.TERMS in unsafe),
        max_staleness=algorithm.max_staleness,
    )
    signer = functools.partial(sign, str(name))
    member = MaskedMember(name, algorithm, trust, admits, signer, drawn, unsafe)
    own = functools.partial(certificate, str(name))
    return Conduct(
        name,
        GENESIS,
        boot=f"{life:016x}",
        tier=MaskedTier(member, GENESIS, own, admitted=admits, operators=operators),
        new_nonce=drawn.nonce,
        position=genesis_position(GENESIS),
        resolve_timeout_s=_RESOLVE_S,
        now_s=0.0,
        unsafe=unsafe,
    )
