"""What happens to a worker, and what it asks for: the words between its machine and its driver.

Events are past tense, effects are verbs. `conduct.py` turns one into the other and
`services/worker/driver.py` carries effects out, in the order given and each to its end. An effect
that `Asks` is answered before the next one is asked for: nothing happens to the worker in between.

It is long because every event and every effect is defined here, and nowhere else.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from common.documents import Answer, Attestation, Commit, Numbers, Offer, Plan, Record
from common.ids import RoundId, WorkerId
from common.rounds import Rule
from worker.rounds.pace import Bounds, Missed
from worker.rounds.position import Position
from worker.rounds.round import Fate, Stage
from worker.rounds.tier import Attempt, RevealedShares
from worker.rounds.visited import Visited

T = TypeVar("T")

# Events: from the coordinator -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Welcomed:
    """A session is open.

    Args:
        start: the record at which a newcomer may begin: it names the newest version that is kept.
        num_records: of the log.
    """

    start: Record
    num_records: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The session is gone; training and a running upload go on."""


@dataclass(frozen=True, slots=True)
class Paced:
    """The coordinator answered a heartbeat.

    Args:
        local_steps: H_i, as it would have it.
        void_offer: nonce of an offer that it does not hold; "" = none.
    """

    local_steps: int
    paused: bool
    void_offer: str


@dataclass(frozen=True, slots=True)
class Planned:
    """A cohort was closed with this worker in it."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Named:
    """U2 is known.

    Args:
        answers: of its members.
        sealed: by sender, for this worker.
    """

    round: RoundId
    answers: Mapping[WorkerId, Answer]
    sealed: Mapping[WorkerId, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Survived:
    """S is known."""

    round: RoundId
    survivors: tuple[WorkerId, ...]


@dataclass(frozen=True, slots=True)
class Signed:
    """Enough survivors signed S."""

    round: RoundId
    signatures: Mapping[WorkerId, bytes]


@dataclass(frozen=True, slots=True)
class Ended:
    """The round will abort: whoever has revealed nothing is asked to promise that it never will."""

    round: RoundId


@dataclass(frozen=True, slots=True)
class Recorded:
    """The next record of the log."""

    record: Record


@dataclass(frozen=True, slots=True)
class Attested:
    """A member said what its round made."""

    word: Attestation


# Events: from its own machine -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Resumed:
    """This process began with a former one's state.

    Args:
        position: where it stood.
        known: versions that it stood on.
        words: on which it stood as it was saved.
        missed: versions that were made without it.
        stage: its unresolved round, if there is one.
    """

    position: Position
    known: Visited
    words: tuple[Attestation, ...]
    missed: Missed
    stage: Stage | None


@dataclass(frozen=True, slots=True)
class Trained:
    """What the trainer has by now; told after every other event.

    Args:
        pending: numbers of work that no commit and no open round holds.
        speed: tokens/s.
        link_bps: measured upload speed, bit/s; 0 = not measured yet.
    """

    pending: Numbers
    speed: float
    link_bps: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """A round's payload lies in the stage whole, ready to be sent."""

    round: RoundId


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The process is to end: offer no more, save, and say when that is done."""


Event = (
    Welcomed
    | Disconnected
    | Paced
    | Planned
    | Named
    | Survived
    | Signed
    | Ended
    | Recorded
    | Attested
    | Resumed
    | Trained
    | Encoded
    | Ticked
    | Stopped
)

# Answers ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frozen:
    """The work as it is at close.

    Args:
        numbers: all zero where nothing was pending.
        loss_2_20: mean training loss over those steps, in nats times 2**20.
        finite: false where loss or parameters are NaN or infinite.
    """

    numbers: Numbers
    loss_2_20: int
    finite: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """What a sum and its step were found to be.

    Args:
        complaint: what is wrong; "" = nothing.
        gone: the sum is no longer kept, so that nobody can look at it.
    """

    complaint: str = ""
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Followed:
    """Where the replica stands now.

    Args:
        moved: whether that is another version than before.
    """

    position: Position
    moved: bool


# Effects: to the coordinator --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SubmitAnswer:
    """The frozen work's numbers, and a share of this worker's secrets for each other member."""

    round: RoundId
    answer: Answer
    sealed: Mapping[WorkerId, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refuse:
    """This worker will not take part in the round."""

    round: RoundId
    rule: Rule
    sentence: str


@dataclass(frozen=True, slots=True)
class SubmitSignature:
    """S is what this worker will reveal for, and nothing else."""

    round: RoundId
    signature: bytes


@dataclass(frozen=True, slots=True)
class SubmitShares:
    """What takes the masks off the sum of S."""

    round: RoundId
    revealed: RevealedShares


@dataclass(frozen=True, slots=True)
class Abandon:
    """A promise never to reveal a share of the round."""

    round: RoundId
    signature: bytes


Message = Offer | SubmitAnswer | Refuse | SubmitSignature | SubmitShares | Abandon | Attestation


@dataclass(frozen=True, slots=True)
class Send:
    """Queue a message; it is dropped while there is no session."""

    message: Message


@dataclass(frozen=True, slots=True)
class Redial:
    """Have a new session opened, which begins where this worker stands by now."""


# Effects: on its own machine --------------------------------------------------------------------


class Asks(Generic[T]):
    """An effect that is answered with a T: see `ask`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class JudgePlan(Asks[str]):
    """Say what no commit's plan may be; "" if it may (rule 1). It needs the base's files."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Freeze(Asks[Frozen]):
    """Freeze the pending work in a new stage; training goes on."""

    round: RoundId


@dataclass(frozen=True, slots=True)
class WriteStage:
    """Make the stage durable with all that lies in its folder, before the next effect."""

    stage: Stage


@dataclass(frozen=True, slots=True)
class Encode:
    """Encode the frozen work, while other things happen; `Encoded` says when that is done.

    Args:
        numbers: of U2.
        attempt: protects the shards.
        loss_2_20: of the frozen work, in nats times 2**20.
        own_clip: C_max.
    """

    plan: Plan
    numbers: Mapping[WorkerId, Numbers]
    attempt: Attempt
    loss_2_20: int
    own_clip: float


@dataclass(frozen=True, slots=True)
class Push:
    """Send what was encoded, while other things happen."""

    round: RoundId


@dataclass(frozen=True, slots=True)
class CancelUpload:
    """End what `Encode` and `Push` began, if it has not ended; after this no byte is sent."""


@dataclass(frozen=True, slots=True)
class Settle:
    """The round is over for this worker: that is what its frozen work is from now on."""

    round: RoundId
    fate: Fate


@dataclass(frozen=True, slots=True)
class Check(Asks[Checked]):
    """Check the sum of a commit with the members' key, and the step that it makes from here.

    An answer is no complaint of a step that gives another digest: that one raises DivergedError.
    """

    record: Record
    commit: Commit
    kappa: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StartAt(Asks[Position | None]):
    """Have the version of a record here, and stand on it; None where it is no longer kept."""

    record: Record


@dataclass(frozen=True, slots=True)
class FollowRecords(Asks[Followed]):
    """Follow the next records to the version of the last one, by the fewest bytes.

    Args:
        snapshot_seq: of the record whose version is kept for longest.
    """

    records: tuple[Record, ...]
    snapshot_seq: int


@dataclass(frozen=True, slots=True)
class RetryHead(Asks[Followed]):
    """Stand on the version that the replica is behind, if it is kept now.

    Args:
        num_records: of the whole log.
    """

    num_records: int


@dataclass(frozen=True, slots=True)
class BeginTraining:
    """Begin on the base.

    Args:
        resume: where from: "stage", "save", or "" for the base itself.
    """

    resume: str


@dataclass(frozen=True, slots=True)
class SetBounds:
    """Go at this pace."""

    bounds: Bounds


@dataclass(frozen=True, slots=True)
class MoveTo:
    """Move the live parameters onto the replica's version.

    Args:
        contributed: the round whose frozen work is in it; "" = none.
        rolled_back: start from it without local work.
    """

    position: Position
    contributed: str
    rolled_back: bool


@dataclass(frozen=True, slots=True)
class SaveState:
    """Make the present state the one that a restart finds; a stage ends with it."""

    position: Position
    known: Visited
    words: tuple[Attestation, ...]
    missed: Missed


@dataclass(frozen=True, slots=True)
class ForgetState:
    """Have a restart begin anew, at the head."""


@dataclass(frozen=True, slots=True)
class Finish:
    """All is saved: the process may end."""


# Effects: what people and metrics are told ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for the log.

    Args:
        is_warning: somebody should look.
    """

    sentence: str
    round: str = ""
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class Believed:
    """Words for a version came.

    Args:
        after_s: how long this worker waited for them.
    """

    after_s: float


Effect = (
    Send
    | Redial
    | JudgePlan
    | Freeze
    | WriteStage
    | Encode
    | Push
    | CancelUpload
    | Settle
    | Check
    | StartAt
    | FollowRecords
    | RetryHead
    | BeginTraining
    | SetBounds
    | MoveTo
    | SaveState
    | ForgetState
    | Finish
    | Note
    | Believed
)

Steps = Generator[Effect, Any, T]
"""Effects, asked for one by one; each `Asks` is answered with `send`."""


def ask(effect: Asks[T]) -> Steps[T]:
    """Ask for an effect; what it returns, with `yield from`, is the answer."""
    return cast("T", (yield cast("Effect", effect)))
