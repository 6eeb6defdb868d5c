"""What happens to a run, and what it asks for: the only words between the pure core and its shell.

Events are past tense, effects are verbs. `coordinator/run.py` turns one into the other;
`services/coordinator/driver.py` carries effects out in the order given. Durable before visible: an
`Append` or `Save` stands before every `Send` that depends on it. It is long because every event
and every effect is defined here, and nowhere else.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from common.documents import (
    Answer,
    Attestation,
    Commit,
    Evaluation,
    Numbers,
    Offer,
    Origin,
    Plan,
    Record,
    RollbackOrder,
)
from common.ids import Digest, RoundId, SessionId, WorkerId
from common.rounds import AbortReason, LeaveReason

# Events: from the control service ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Joined:
    """An admitted worker, compatible with the run, opened a session.

    Args:
        organisation: the party that controls it; "" = one of its own.
    """

    worker: WorkerId
    session: SessionId
    boot: str
    version: int
    speed: int
    organisation: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """A heartbeat: speed in tokens/s, link in bit/s (0 = not measured), pending local steps.

    Args:
        offer_nonce: of the offer that the worker takes to be open; "" = none.
    """

    session: SessionId
    speed: int
    link_bps: int
    version: int
    pending_steps: int
    offer_nonce: str


@dataclass(frozen=True, slots=True)
class Offered:
    """A worker offers; `offer.worker` is already checked against its certificate."""

    session: SessionId
    offer: Offer


@dataclass(frozen=True, slots=True)
class Answered:
    """A member sent its numbers at close.

    Args:
        sealed: in the masked tier: what it sealed for each other member; unreadable here.
    """

    session: SessionId
    round: RoundId
    answer: Answer
    sealed: Mapping[WorkerId, bytes]


@dataclass(frozen=True, slots=True)
class Listed:
    """A survivor signed the list of survivors."""

    session: SessionId
    round: RoundId
    signature: bytes


@dataclass(frozen=True, slots=True)
class Revealed:
    """A survivor sent one share per member of U2: of b_j for a survivor, else of its mask key.

    Args:
        own: shares of b_j, 33 bytes each, by survivor.
        mask: shares of mask keys, by member that is no survivor.
    """

    session: SessionId
    round: RoundId
    own: Mapping[WorkerId, bytes]
    mask: Mapping[WorkerId, bytes]


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A member will never reveal a share of this round."""

    session: SessionId
    round: RoundId
    signature: bytes


@dataclass(frozen=True, slots=True)
class Attested:
    """A worker brings a member's word for the version that its round made."""

    session: SessionId
    attestation: Attestation


@dataclass(frozen=True, slots=True)
class Refused:
    """A member will not take part."""

    session: SessionId
    round: RoundId
    rule: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Departed:
    """A worker said that it ends."""

    session: SessionId
    reason: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A session's stream broke. The worker stays live until its lease ends."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class Expelled:
    """A name was taken off the member list."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The evaluator reported."""

    evaluation: Evaluation


class Command(enum.Enum):
    """What an operator may ask for."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Operated:
    """An operator asked for something. `by` is the operator's name."""

    command: Command
    by: str


@dataclass(frozen=True, slots=True)
class RollbackAsked:
    """An operator wants an earlier version's state back; `order` as in `Rollback`."""

    version: int
    by: str
    order: RollbackOrder | None = None


@dataclass(frozen=True, slots=True)
class Draining:
    """This process will end soon: another coordinator goes on. No cohort closes any more."""


# Events: from the shell's own processes -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SpoolOpened:
    """Uploads of the round are taken from now on."""

    round: RoundId


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A member's upload is complete in the spool."""

    worker: WorkerId
    round: RoundId


@dataclass(frozen=True, slots=True)
class Progressed:
    """Bytes of a member's upload arrived: counts as a heartbeat."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class Sealed:
    """The spool is sealed; its listing is the survivors, sorted."""

    round: RoundId
    survivors: tuple[WorkerId, ...]


@dataclass(frozen=True, slots=True)
class Computed:
    """The next version's files are durable."""

    round: RoundId
    commit: Commit
    digest: Digest


@dataclass(frozen=True, slots=True)
class ComputeFailed:
    """The sum could not become a version.

    Args:
        blamed: whose update it is that cannot be summed, where that is known.
    """

    round: RoundId
    reason: AbortReason
    detail: str
    blamed: WorkerId | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """The files of an earlier version are complete and durable.

    Args:
        commits: its `Version.commits`.
        origin: in the masked tier: why it can be believed; None for version 0.
    """

    version: int
    digest: Digest
    commits: int
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class RestoreFailed:
    """An earlier version cannot be had any more."""

    version: int
    detail: str


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passed; nothing else happened. Fed at least every quarter of a second."""


Event = (
    Joined
    | Heard
    | Offered
    | Answered
    | Listed
    | Revealed
    | Abandoned
    | Attested
    | Refused
    | Departed
    | Disconnected
    | Expelled
    | Evaluated
    | Operated
    | RollbackAsked
    | Draining
    | SpoolOpened
    | Uploaded
    | Progressed
    | Sealed
    | Computed
    | ComputeFailed
    | Restored
    | RestoreFailed
    | Ticked
)


# Effects: durable ---------------------------------------------------------------------------------


class Table(enum.Enum):
    """The hashes that the store keeps per run."""

    STATE = "state"
    MEMBERS = "members"
    OFFERS = "offers"
    ROUND = "round"
    COUNTERS = "counters"
    EVALUATIONS = "evaluations"


@dataclass(frozen=True, slots=True)
class Put:
    """Set one field of one table: a canonical document, a decimal number or a digest."""

    table: Table
    field: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove one field of one table; removing what is not there is fine."""

    table: Table
    field: str


@dataclass(frozen=True, slots=True)
class Save:
    """Change the live state in the store, all of it or nothing."""

    changes: tuple[Put | Delete, ...]


@dataclass(frozen=True, slots=True)
class Append:
    """Make `record` the next of the commit log. This is the commit point."""

    record: Record


# Effects: the spool and the commit process --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenSpool:
    """Accept uploads of `members` for the round; answer with `SpoolOpened`.

    `bits` and `fragment` decide the payload's size.
    """

    round: RoundId
    members: tuple[WorkerId, ...]
    bits: int
    fragment: int


@dataclass(frozen=True, slots=True)
class Seal:
    """Accept no more shards; answer with `Sealed`."""

    round: RoundId


@dataclass(frozen=True, slots=True)
class Secrets:
    """What takes the masks off the sum, and off nothing else. No part of it is ever stored.

    Args:
        context: ctx, 64 hexadecimal digits: what every mask is bound to.
        own: b_j of each survivor, 64 hexadecimal digits.
        lost: the secret mask key of each member of U2 that is no survivor, likewise.
    """

    context: str
    own: Mapping[WorkerId, str] = field(repr=False)
    lost: Mapping[WorkerId, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Compute:
    """Sum the survivors' uploads, step, write files; answer `Computed` or `ComputeFailed`.

    Args:
        secrets: in the masked tier.
        signatures: what the commit's field of that name will be.
    """

    plan: Plan
    numbers: Mapping[WorkerId, Numbers]
    survivors: tuple[WorkerId, ...]
    secrets: Secrets | None = None
    signatures: Mapping[WorkerId, str] | None = None


@dataclass(frozen=True, slots=True)
class Restore:
    """Make the files of an earlier version complete; answer `Restored` or `RestoreFailed`."""

    version: int


@dataclass(frozen=True, slots=True)
class DropSpool:
    """The round is over: delete its uploads."""

    round: RoundId


# Effects: visible ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pace:
    """Answer to a heartbeat: H_i, paused, log length.

    Args:
        void_offer: the nonce that the heartbeat named, where no such offer is open; else "".
    """

    local_steps: int
    paused: bool
    num_records: int
    void_offer: str


@dataclass(frozen=True, slots=True)
class Members:
    """U2 and what its members said.

    Args:
        sealed: what each other member sealed for the receiver.
    """

    round: RoundId
    answers: Mapping[WorkerId, Answer]
    sealed: Mapping[WorkerId, bytes]


@dataclass(frozen=True, slots=True)
class Survivors:
    """S, to each survivor. Where S is not U2, it is to be signed before any share is revealed."""

    round: RoundId
    survivors: tuple[WorkerId, ...]


@dataclass(frozen=True, slots=True)
class Signatures:
    """Enough survivors signed S."""

    round: RoundId
    signatures: Mapping[WorkerId, bytes]


@dataclass(frozen=True, slots=True)
class End:
    """The round will abort: whoever has not revealed a share says that it never will."""

    round: RoundId


@dataclass(frozen=True, slots=True)
class Replaced:
    """This session was taken over by a newer one."""


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Go: the run is over (`finished`), or this worker was expelled."""

    finished: bool
    reason: str


Message = Pace | Plan | Members | Survivors | Signatures | End | Attestation | Replaced | Dismiss


@dataclass(frozen=True, slots=True)
class Send:
    """Hand `message` to one session; a session that is gone is not an error."""

    session: SessionId
    message: Message


@dataclass(frozen=True, slots=True)
class Publish:
    """Send the appended `record` to every session and every watcher of the log."""

    record: Record


@dataclass(frozen=True, slots=True)
class Note:
    """Tell the people: one line of the coordinator's log. `kind` is a stable word.

    Args:
        worker, round: which one it is about, if it is about one.
        rule: by which a worker refused; 0 = none did.
    """

    kind: str
    sentence: str
    worker: WorkerId | None = None
    round: RoundId | None = None
    rule: int = 0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Tell the people: a round that is over went on, or ended, without a member of its plan.

    Args:
        detail: what there is to say of this one; "" = no more than the reason does.
    """

    round: RoundId
    worker: WorkerId
    reason: LeaveReason
    detail: str = ""

    @property
    def why(self) -> str:
        """A sentence."""
        return self.detail or self.reason.sentence


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Warn the people: what the store holds there is none of ours; it counts as lost.

    Args:
        key: table and field, "round[open]".
        why: what is wrong with it.
    """

    key: str
    why: str


@dataclass(frozen=True, slots=True)
class NotRolledBack:
    """Tell whoever asked, and the people: no such record will come, the head stays."""

    version: int
    detail: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The run is over."""

    reason: str


Effect = (
    Save
    | Append
    | OpenSpool
    | Seal
    | Compute
    | Restore
    | DropSpool
    | Send
    | Publish
    | Note
    | LeftOut
    | Forgotten
    | NotRolledBack
    | Finish
)
