"""Who is in a round: what each member has answered and uploaded; who was left out, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.documents import Answer, Numbers, Plan
from common.errors import NotAMemberError
from common.ids import WorkerId
from common.rounds import LeaveReason
from coordinator.ports import LeftOut, Members


@dataclass(slots=True)
class RoundCohort:
    """See the module docstring.

    Args:
        members: who can still be in the sum; nobody before the round is open.
        left: who was left out, and why.
        answers: of whoever sent one; from `collect_masked` on exactly those of U2.
        sealed: what each sealed for the others, in the masked tier.
        uploaded: members whose upload is complete.
    """

    plan: Plan
    members: set[WorkerId] = field(default_factory=set)
    left: dict[WorkerId, LeftOut] = field(default_factory=dict)
    answers: dict[WorkerId, Answer] = field(default_factory=dict)
    sealed: dict[WorkerId, Mapping[WorkerId, bytes]] = field(default_factory=dict)
    uploaded: set[WorkerId] = field(default_factory=set)

    @property
    def numbers(self) -> dict[WorkerId, Numbers]:
        """The numbers at close, of whoever sent them."""
        return {worker: answer.numbers for worker, answer in self.answers.items()}

    def check(self, worker: WorkerId) -> None:
        """Let a member pass.

        Raises:
            NotAMemberError: it has no part in the round; says why.
        """
        if worker not in self.members:
            left = self.left.get(worker)
            why = "it is not in the plan" if left is None else left.why
            raise NotAMemberError(f"{worker} has no part in round {self.plan.round}: {why}")

    def leave_out(self, worker: WorkerId, reason: LeaveReason, detail: str = "") -> None:
        """It will not be in the sum."""
        self.members.discard(worker)
        self.uploaded.discard(worker)
        self.left[worker] = LeftOut(self.plan.round, worker, reason, detail)

    def lose(self, worker: WorkerId, reason: LeaveReason, detail: str) -> None:
        """Wait no longer for a worker; an upload that is complete counts, unless it is expelled."""
        expelled = reason is LeaveReason.EXPELLED
        if worker in self.members and (expelled or worker not in self.uploaded):
            self.leave_out(worker, reason, detail)

    def close(self) -> None:
        """U2 is who answered and was not left out: from here on only their answers count."""
        self.answers = {w: self.answers[w] for w in sorted(self.members)}

    def u2(self, worker: WorkerId) -> Members:
        """Return what a member of U2 is told of it."""
        sealed = {w: self.sealed[w][worker] for w in self.answers if worker in self.sealed[w]}
        return Members(self.plan.round, self.answers, sealed)

    def shortage(self) -> str:
        """Return why so few members are left that there can be no sum; "" while there can."""
        if len(self.members) >= self.plan.threshold:
            return ""
        left = "; ".join(f"{w}: {left.why}" for w, left in sorted(self.left.items()))
        return f"members left: {len(self.members)}, needed: {self.plan.threshold} ({left})"
