"""Decides whose work is free again after a masked round that failed.

Once members were named, any of them may have sent masked bytes, and shares that take a mask off may
be under way. An abort alone proves nothing: only if so many members signed that they will never
reveal a share that the threshold cannot be reached any more, the masks stay on for ever, and the
work below them may be offered again (SECAGG: K - t + 1 + c `Abandon`s).
"""

from common.documents import Plan
from common.errors import BadSignatureError, NotAMemberError
from common.ids import WorkerId
from common.secagg.transcript import abandon_content, identity_of, is_signed
from common.thresholds import abandons_needed


class Ending:
    """Collects what frees the members' work.

    Args:
        colluding: c, workers that may say they abandon and reveal all the same.
    """

    def __init__(self, plan: Plan, colluding: int) -> None:
        self._plan = plan
        self._needed = abandons_needed(len(plan.offers), colluding, plan.threshold)
        self.signatures: dict[WorkerId, str] = {}

    @property
    def enough(self) -> bool:
        """Whether the round's masks stay on for ever."""
        return len(self.signatures) >= self._needed

    def waiting_for(self) -> tuple[WorkerId, ...]:
        """Return whose word is still out."""
        return tuple(w for w in self._plan.roster if w not in self.signatures)

    def abandon(self, worker: WorkerId, signature: bytes) -> None:
        """A member signed that it will never reveal a share.

        Raises:
            NotAMemberError: it is not in the plan.
            BadSignatureError: the signature is not its own.
        """
        if worker not in self._plan.roster:
            raise NotAMemberError(f"{worker} is not in round {self._plan.round}")
        key, content = identity_of(self._plan, worker), abandon_content(self._plan)
        if not is_signed(key, "abandon", content, signature.hex()):
            raise BadSignatureError(f"{worker}: the signature of its abandon is wrong")
        self.signatures[worker] = signature.hex()
