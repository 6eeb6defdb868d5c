"""The worker's half of a round: what it accepts, what it refuses, and what becomes of its work.

    free --plan accepted--> staged --first byte sent--> exposed --commit names it--> contributed
      ^                        |                           |
      +------------------------+---------------------------+   any other record of that round

A plan may only use the worker's own open offer, byte for byte, on exactly the base that it stands
on; an offer is used up by the first plan accepted. The rules' numbers are those of
docs/protocol.md. Nothing here reads a clock or sends a message: `services/worker/agent.py` does.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

from common import canonical
from common.documents import Numbers, Offer, Plan, Record
from common.errors import CrosscloudError
from common.ids import Digest, RoundId, WorkerId


class Work(enum.Enum):
    """Where the work of this worker's latest round is."""

    FREE = "free"
    STAGED = "staged"
    EXPOSED = "exposed"


class Fate(enum.Enum):
    """What became of a round's work."""

    CONTRIBUTED = "contributed"
    FREE = "free"
    SPENT = "spent"


class Rule(enum.IntEnum):
    """Why a worker refuses. The numbers are the protocol's."""

    OFFER = 2
    HEAD = 5
    UNRESOLVED = 7
    MEMBERS = 9
    OWN_UPDATE = 15


class RefusedError(CrosscloudError):
    """This worker will not take part in the round; the coordinator is told by which rule.

    Args:
        round: the round's id.
        rule: its number.
        sentence: for people.
    """

    def __init__(self, round_id: RoundId, rule: Rule, sentence: str) -> None:
        super().__init__(sentence)
        self.round = round_id
        self.rule = rule
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Stage:
    """A round that this worker is part of. A document: it is stored beside the frozen work.

    Args:
        next_seq: first log record that this worker had not seen when it accepted the plan.
        exposed: whether a byte of the upload may have been sent.
        numbers: as sent; None before that.
    """

    plan: Plan
    next_seq: int
    exposed: bool
    numbers: Numbers | None = None


class WorkerRound:
    """See the module docstring.

    Args:
        worker: this worker's name.
        stage: the unresolved round found on disk after a restart.
    """

    def __init__(self, worker: WorkerId, stage: Stage | None = None) -> None:
        self._worker = worker
        self.stage = stage
        self.offer: Offer | None = None

    @property
    def work(self) -> Work:
        """Return where the work of the latest round is."""
        if self.stage is None:
            return Work.FREE
        return Work.EXPOSED if self.stage.exposed else Work.STAGED

    def accept(self, plan: Plan, version: int, digest: Digest, next_seq: int) -> None:
        """Take part in `plan`; the offer is used up.

        Args:
            plan: as received.
            version: number of the base that this worker stands on.
            digest: of that base.
            next_seq: first log record that this worker has not seen.

        Raises:
            RefusedError: rule 7, 2 or 5; nothing changed.
        """
        if self.stage is not None:
            raise RefusedError(
                plan.round,
                Rule.UNRESOLVED,
                f"round {self.stage.plan.round[:8]} of this worker has no outcome yet",
            )
        own = [o for o in plan.offers if o.worker == self._worker]
        if self.offer is None or own != [self.offer]:
            raise RefusedError(
                plan.round, Rule.OFFER, "the plan does not hold this worker's open offer"
            )
        if (plan.version, plan.digest) != (version, digest):
            raise RefusedError(
                plan.round,
                Rule.HEAD,
                f"the plan's base is version {plan.version} {plan.digest[:16]}..., this worker "
                f"stands on version {version} {digest[:16]}...",
            )
        self.offer = None
        self.stage = Stage(plan, next_seq, exposed=False)

    def close(self, numbers: Numbers, *, finite: bool, max_staleness: float) -> Numbers:
        """Return the numbers to send.

        Raises:
            RefusedError: rule 15; the round is forgotten.
        """
        stage = self._staged()
        reason = ""
        if not finite:
            reason = "its update or its loss holds NaN or infinity"
        elif numbers.steps == 0:
            reason = "it has no work that is not committed"
        elif numbers.age_256 > 256 * max_staleness:
            reason = (
                f"its work is {numbers.age_256 / 256:.1f} commits old on average, "
                f"at most {max_staleness:g} are allowed"
            )
        if reason:
            self.stage = None
            raise RefusedError(stage.plan.round, Rule.OWN_UPDATE, f"{self._worker}: {reason}")
        self.stage = replace(stage, numbers=numbers)
        return numbers

    def expose(self, round_id: RoundId, members: Mapping[WorkerId, Numbers]) -> Plan:
        """Accept U2; from now on a byte of the upload may be sent.

        Raises:
            RefusedError: rule 9; the work stays staged until the round's record.
        """
        stage = self._staged()
        reason = ""
        if round_id != stage.plan.round:
            reason = "these members are of another round"
        elif members.get(self._worker) != stage.numbers:
            reason = "this worker's own numbers are not as it sent them"
        elif not members.keys() <= set(stage.plan.roster):
            reason = "a member is not in the plan"
        elif len(members) < stage.plan.threshold:
            reason = f"{len(members)} members, the plan's threshold is {stage.plan.threshold}"
        if reason:
            raise RefusedError(round_id, Rule.MEMBERS, reason)
        self.stage = replace(stage, exposed=True)
        return stage.plan

    def resolve(self, record: Record) -> Fate | None:
        """Return what `record` makes of this worker's work; None where it says nothing of it.

        A roll-back voids the open offer too: the work that it names is lost.
        """
        if record.rollback is not None:
            self.offer, stage, self.stage = None, self.stage, None
            return None if stage is None else Fate.SPENT
        if self.stage is None or record.seq < self.stage.next_seq:
            return None  # after a restart the log is read from the save on, which is older
        if record.takeover is not None:  # a new epoch ends the rounds before it, lost ones too
            self.stage = None
            return Fate.FREE
        mine = self.stage.plan.round
        if record.commit is not None and record.commit.plan.round == mine:
            self_named = self._worker in record.commit.survivors
            self.stage = None
            return Fate.CONTRIBUTED if self_named else Fate.FREE
        if record.abort is not None and record.abort.round == mine:
            self.stage = None
            return Fate.FREE
        return None

    def _staged(self) -> Stage:
        if self.stage is None:
            raise AssertionError("no plan was accepted")
        return self.stage

    def stored(self) -> bytes:
        """Return the stage as a document, to be written beside the frozen work."""
        return canonical.encode(self._staged())
