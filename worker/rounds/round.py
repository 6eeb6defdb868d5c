"""The worker's half of a round: what it accepts, what it refuses, and what becomes of its work.

    free --plan accepted--> staged --first byte sent--> exposed --commit names it--> contributed
      ^                        |                           |
      +------------------------+---------------------------+   a record that proves it unseen
                                                           '--> spent   any other end

In the tls tier every other record of the round frees the work. In the masked tier exposed work is
free only where its masks stay on for ever: a commit without this worker whose list enough members
signed, or an abort that enough members abandoned (`coordinator/ending.py`). Otherwise it is spent,
for work that is in two sums shows itself in their difference: so it is where another round commits
before this one has an outcome, since a coordinator that restarts may have lost it.

A plan may only use the worker's own open offer, byte for byte, on exactly the base that it stands
on; an offer is used up by the first plan accepted. What each rule refuses is listed at the head of
`trust.py`. Nothing here reads a clock or sends a message: `conduct.py` does.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from common.documents import Answer, Attestation, Commit, Numbers, Offer, Plan, Record
from common.errors import BadCommitError, CrosscloudError
from common.ids import Digest, RoundId, WorkerId
from common.rounds import Rule
from common.secagg.labels import SignedPurpose
from common.secagg.transcript import abandon_content, list_content, num_signed
from common.thresholds import abandons_needed

RESOLVE_PATIENCE: Final = 3
"""A masked round that has no outcome after so many times its time limits is given up."""


class WorkState(enum.Enum):
    """Where the work of this worker's latest round is."""

    FREE = "free"
    STAGED = "staged"
    EXPOSED = "exposed"


class Fate(enum.Enum):
    """What became of a round's work."""

    CONTRIBUTED = "contributed"
    FREE = "free"
    SPENT = "spent"


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
        answer: as sent; None before that.
        answers: of U2; empty before that.
        kappa: what U2 checks the sum with, hexadecimal; it hides nothing.
        revealed: whether a share may have been sent.
        word: what this worker said that the round made; None before that.
    """

    plan: Plan
    next_seq: int
    exposed: bool
    answer: Answer | None = None
    answers: Mapping[WorkerId, Answer] = field(default_factory=dict)
    kappa: str = ""
    revealed: bool = False
    word: Attestation | None = None

    def patience_s(self, most_s: float) -> float:
        """Return how long the round's outcome is waited for; a coordinator may lie in its plan."""
        told_s = self.plan.key_timeout_s + self.plan.upload_timeout_s
        return min(RESOLVE_PATIENCE * told_s, most_s)


class WorkerRound:
    """See the module docstring.

    Args:
        worker: this worker's name.
        colluding: c.
        stage: the unresolved round found on disk after a restart.
        unsafe: rules that are not looked at: only tests, that show what they are for, give any.
    """

    def __init__(
        self,
        worker: WorkerId,
        colluding: int,
        stage: Stage | None = None,
        unsafe: frozenset[Rule] = frozenset(),
    ) -> None:
        self._worker = worker
        self._colluding = colluding
        self._unsafe = unsafe
        self.stage = stage
        self.offer: Offer | None = None

    @property
    def work(self) -> WorkState:
        """Return where the work of the latest round is."""
        if self.stage is None:
            return WorkState.FREE
        return WorkState.EXPOSED if self.stage.exposed else WorkState.STAGED

    def accept(
        self,
        plan: Plan,
        version: int,
        digest: Digest,
        next_seq: int,
        num_held: int = 0,
        *,
        behind: bool = False,
    ) -> None:
        """Take part in `plan`; the offer is used up.

        Args:
            plan: as received.
            version: number of the base that this worker stands on.
            digest: of that base.
            next_seq: first log record that this worker has not followed.
            num_held: how many it holds from there on, which too few vouch for yet.
            behind: it has followed the log further, without the files of the version there.

        Raises:
            RefusedError: rule 7, 2 or 5; nothing changed.
        """
        if self.stage is not None:
            former = self.stage.plan.round[:8]
            self._refuse(
                plan.round, Rule.UNRESOLVED, f"round {former} of this worker has no outcome yet"
            )
        own = [o for o in plan.offers if o.worker == self._worker]
        if self.offer is None or own != [self.offer]:
            self._refuse(plan.round, Rule.OFFER, "the plan does not hold this worker's open offer")
        if (plan.version, plan.digest) != (version, digest):
            self._refuse(
                plan.round,
                Rule.HEAD,
                f"the plan's base is version {plan.version} {plan.digest[:16]}..., this worker "
                f"stands on version {version} {digest[:16]}...",
            )
        if behind:
            self._refuse(plan.round, Rule.HEAD, "this worker waits for files of a later version")
        if num_held:
            self._refuse(plan.round, Rule.HEAD, "this worker waits for words for a later version")
        for other in plan.offers:
            if other.version == version and other.digest != digest:
                self._refuse(
                    plan.round,
                    Rule.HEAD,
                    f"{other.worker} stands on another version {version}: {other.digest[:16]}...",
                )
        self.offer = None
        self.stage = Stage(plan, next_seq, exposed=False)

    def close(
        self,
        numbers: Numbers,
        *,
        finite: bool,
        max_staleness: float,
        most_steps: int | None = None,
    ) -> None:
        """Let the numbers at close pass.

        Args:
            most_steps: that a worker may bring which was left out; see `worker/rounds/pace.py`.

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
        elif most_steps is not None and numbers.steps > most_steps:
            reason = (
                f"the run went on without it, and it has {numbers.steps} steps of work: at most "
                f"{most_steps} can be among others' then"
            )
        if reason and Rule.OWN_UPDATE not in self._unsafe:
            self.stage = None
            raise RefusedError(stage.plan.round, Rule.OWN_UPDATE, f"{self._worker}: {reason}")

    def answered(self, answer: Answer) -> None:
        """Remember the answer before it is sent."""
        self.stage = replace(self._staged(), answer=answer)

    def forget(self, round_id: RoundId) -> None:
        """A plan that was accepted is refused after all, before anything was frozen for it."""
        if self.stage is not None and self.stage.plan.round == round_id:
            self.stage = None

    def name(self, round_id: RoundId, answers: Mapping[WorkerId, Answer]) -> bool:
        """Let U2 pass; False where it was named before.

        Raises:
            RefusedError: rule 9; the work stays staged until the round's record.
        """
        stage = self._staged()
        if stage.exposed and (round_id, answers) == (stage.plan.round, stage.answers):
            return False
        reason = ""
        if round_id != stage.plan.round:
            reason = "these members are of another round"
        elif stage.exposed:
            reason = "other members were named before in this round"
        elif answers.get(self._worker) != stage.answer:
            reason = "this worker's own answer is not as it was sent"
        elif not answers.keys() <= set(stage.plan.roster):
            reason = "a member is not in the plan"
        elif len(answers) < stage.plan.threshold:
            reason = f"{len(answers)} members, the plan's threshold is {stage.plan.threshold}"
        if reason:
            self._refuse(round_id, Rule.MEMBERS, reason)
        return True

    def expose(self, answers: Mapping[WorkerId, Answer], kappa: bytes) -> None:
        """Take U2 and what its sum is checked with; from now on a byte may be sent."""
        self.stage = replace(self._staged(), exposed=True, answers=dict(answers), kappa=kappa.hex())

    def check_numbers(self, commit: Commit) -> None:
        """Let a commit pass whose numbers are those that this worker's U2 answered with.

        The tags vouch for the sum. Weights and scales follow from the numbers: were they others
        than the members signed, the same sum would make another step.

        Raises:
            BadCommitError: they are not (rule 14).
        """
        told = {worker: answer.numbers for worker, answer in self._staged().answers.items()}
        if dict(commit.numbers) != told and Rule.RECORD not in self._unsafe:
            raise BadCommitError("its numbers are not those that the members answered with")

    def has_vouched(self, word: Attestation) -> bool:
        """Return whether this very word was given before, in an earlier session or process."""
        said = self._staged().word
        return said is not None and replace(said, signature=None) == replace(word, signature=None)

    def vouch(self, word: Attestation) -> None:
        """Remember, durably before it is sent, which version this worker gives its word for.

        Raises:
            BadCommitError: it gave it for another one of this round (rule 14).
        """
        stage = self._staged()
        is_other = stage.word is not None and not self.has_vouched(word)
        if stage.word is not None and is_other and Rule.RECORD not in self._unsafe:
            said = stage.word
            raise BadCommitError(
                f"this worker vouched for version {said.version} {said.digest[:16]}... of its round"
            )
        self.stage = replace(stage, word=word)

    def reveal(self) -> None:
        """Remember, durably before it is so, that a share may have been sent."""
        self.stage = replace(self._staged(), revealed=True)

    def resolve(self, record: Record) -> Fate | None:
        """Return what `record` makes of this worker's work; None where it says nothing of it.

        A roll-back voids the open offer too: the work that it names is lost.
        """
        if record.rollback is not None:
            self.offer, stage, self.stage = None, self.stage, None
            return None if stage is None else Fate.SPENT
        if self.stage is None or record.seq < self.stage.next_seq:
            return None  # after a restart the log is read from the save on, which is older
        fate = self._fate(self.stage, record)
        if fate is not None:
            self.stage = None
        return fate

    def give_up(self) -> Fate:
        """End the round without knowing how it ended: exposed work is spent."""
        stage, self.stage = self._staged(), None
        return Fate.SPENT if stage.exposed else Fate.FREE

    def _fate(self, stage: Stage, record: Record) -> Fate | None:
        plan, safe = stage.plan, not (stage.plan.masked and stage.exposed)
        if record.takeover is not None:  # a new epoch ends the rounds before it, lost ones too
            return None if stage.plan.masked else Fate.FREE
        if record.commit is not None and record.commit.plan.round == plan.round:
            if self._worker in record.commit.survivors:
                return Fate.CONTRIBUTED
            u2, survivors = tuple(sorted(stage.answers)), record.commit.survivors
            if safe or self._proved(
                plan,
                "list",
                list_content(plan, u2, survivors),
                record.commit.signatures,
                plan.threshold,
            ):
                return Fate.FREE
            return Fate.SPENT
        if record.commit is not None:  # one round is open at a time: this one is lost, unrecorded
            return Fate.FREE if safe else Fate.SPENT
        if record.abort is not None and record.abort.round == plan.round:
            needed = abandons_needed(len(plan.offers), self._colluding, plan.threshold)
            if safe or self._proved(
                plan, "abandon", abandon_content(plan), record.abort.abandons, needed
            ):
                return Fate.FREE
            return Fate.SPENT
        return None

    def _proved(
        self,
        plan: Plan,
        purpose: SignedPurpose,
        content: bytes,
        signatures: Mapping[WorkerId, str] | None,
        needed: int,
    ) -> bool:
        """Return whether enough members of the plan signed; without rule 7 nobody has to."""
        if Rule.UNRESOLVED in self._unsafe:
            return True
        return num_signed(plan, purpose, content, signatures) >= needed

    def _refuse(self, round_id: RoundId, rule: Rule, sentence: str) -> None:
        if rule not in self._unsafe:
            raise RefusedError(round_id, rule, sentence)

    def _staged(self) -> Stage:
        if self.stage is None:
            raise AssertionError("no plan was accepted")
        return self.stage
