"""Says what a worker refuses, rule by rule; and what its own file insists on, whatever it is told.

A plan may be stricter than that file, never weaker. Who may be a member is asked of `Admits`, which
reads pinned keys or the federation's CA (`services/worker/trusted.py`): never of the coordinator.
The numbers are those of docs/protocol.md, section 7, the words those of `Rule` (common/rounds.py).
FILE.FUNCTION checks; where no folder stands it is this one.

     1  a run or plan weaker than its own file          trust.complaint
        a plan that no commit may have                  participation._judge
     2  a plan without its own open offer               round.accept
     3  a member that is not admitted, or stands twice  trust.roster_complaint
     4  too few members, or another threshold           trust.cohort_complaint
     5  another base than the one that it stands on     round.accept
     6  a member that is too much of a sum              trust.share_complaint
     7  a plan while its last round has no outcome      round.accept
     8  keys or sealed shares that are none             attempt._keys_complaint, attempt._opened
     9  a U2 without its own answer, or a second one    round.name, attempt._unsigned
    10  to mask twice, or to reveal after a restart     attempt.protect, participation.handle
    11  an S that cannot be, or a second one            attempt.survived
    12  an S other than U2 that too few signed          attempt.reveal
    13  to reveal after its Abandon, or what it lacks   attempt.survived, attempt.reveal
        to upload after its Abandon                     attempt.named
    14  a record that does not follow from the log      common/log_head.after
        one that replay does not lead to                services/versions/replica._step
        a roll-back without an operator's order         held._check_orders
        a sum that its members did not send             services/versions/replica.check
        numbers that they did not answer with           round.check_numbers
        a second version of its own round               round.vouch
    15  its own work, or numbers, out of range          round.close, attempt._share_complaint
"""

import contextlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.documents import TIERS, Algorithm, Numbers, Plan
from common.errors import BadKeyError, CrosscloudError
from common.ids import WorkerId
from common.parties import Admits
from common.secagg.transcript import certificate_der, is_signed, offered_keys, signed_content
from common.terms import RINGS
from common.thresholds import is_sound, min_cohort
from common.weight import influence, threshold

_SLACK = 0.001
_USUAL = Algorithm()


@dataclass(frozen=True, slots=True)
class Trust:
    """See the module docstring.

    Args:
        tier: the weakest that it works in.
        colluding: c, the fewest colluding workers that a threshold must allow for.
        min_cohort: m, the fewest members that a sum must have; None = 3 + c.
        max_share: the largest part of a sum's weight that one member may have.
        max_staleness: tau_max, the largest.
        max_policy_factor: rho, the largest.
        max_clip: C_max: its own updates are clipped to this even where C is larger.
    """

    tier: str = "masked"
    colluding: int = 0
    min_cohort: int | None = None
    max_share: float = _USUAL.max_share
    max_staleness: float = _USUAL.max_staleness
    max_policy_factor: float = _USUAL.max_policy_factor
    max_clip: float = math.inf

    @property
    def fewest(self) -> int:
        """The fewest members that a sum must have."""
        return min_cohort(self.colluding) if self.min_cohort is None else self.min_cohort

    def complaint(self, algorithm: Algorithm, tier: str) -> str:
        """Return what of a run is weaker than this file allows; "" if nothing is (rule 1)."""
        a, fewest = algorithm, self.fewest
        if tier != a.tier:
            return f"tier is {tier!r}, the run's is {a.tier!r}"
        most = ("max_share", "max_staleness", "max_policy_factor")
        told = ((field, getattr(a, field), getattr(self, field)) for field in most)
        weaker = (
            (TIERS.index(tier) < TIERS.index(self.tier), "tier", tier, self.tier),
            (a.masked and a.colluding < self.colluding, "colluding", a.colluding, self.colluding),
            (a.masked and a.min_cohort < fewest, "min_cohort", a.min_cohort, fewest),
            *((found > allowed, field, found, allowed) for field, found, allowed in told),
            (a.masked and a.codec.kind not in RINGS, "codec.kind", a.codec.kind, "a ring"),
        )
        for is_weaker, field, found, allowed in weaker:
            if is_weaker:
                asks = f"this worker's own file (trust.{field}) asks for {allowed}"
                return f"{field} is {found}, {asks}"
        return ""


def roster_complaint(plan: Plan, admits: Admits) -> str:
    """Return why the roster cannot be trusted; "" if it can (rule 3)."""
    seen: dict[str, dict[str | bytes, WorkerId]] = {}
    for offer in plan.offers:
        worker, keys = offer.worker, offer.keys
        if keys is None:
            return f"the offer of {worker} is not signed"
        try:
            party = admits(certificate_der(keys.certificate, worker))
        except CrosscloudError as e:
            return f"{worker}: {e}"
        if party.name != worker:
            return f"{worker} offers with the certificate of {party.name}"
        if offer.run != plan.run:
            return f"the offer of {worker} is for run {offer.run}"
        if not is_signed(party.key, "offer", signed_content(offer), offer.signature):
            return f"the signature of the offer of {worker} is wrong"
        distinct: list[tuple[str, str | bytes]] = [
            ("name", worker),
            ("organisation", party.organisation),
            ("certificate key", party.key_id),
        ]
        with contextlib.suppress(BadKeyError):  # what is no key is refused by rule 8
            sealing, masking = offered_keys(offer)
            distinct += ("sealing key", sealing.to_bytes()), ("masking key", masking.to_bytes())
        for what, value in distinct:
            if (other := seen.setdefault(what, {}).setdefault(value, worker)) is not worker:
                return f"{worker} and {other} have one {what}"
    if len({o.worker for o in plan.offers}) != len(plan.offers):
        return "a name stands twice"
    return ""


def cohort_complaint(plan: Plan, algorithm: Algorithm) -> str:
    """Return why the plan's sizes are unsound; "" if they are sound (rule 4)."""
    num, t, c = len(plan.offers), plan.threshold, algorithm.colluding
    if num < algorithm.min_cohort:
        return f"{num} members, at least {algorithm.min_cohort} are needed"
    if t != threshold(num, algorithm):
        return f"threshold is {t}, must be {threshold(num, algorithm)}"
    if not is_sound(num, c, t, algorithm.min_cohort):
        return f"threshold {t} of {num} members lets two lists of survivors both gather enough"
    return ""


def share_complaint(
    numbers: Mapping[WorkerId, Numbers],
    members: Iterable[WorkerId],
    algorithm: Algorithm,
    num_needed: int,
    max_share: float,
) -> str:
    """Return whose weight would drown the others in a sum; "" if nobody's would (rule 6).

    Args:
        numbers: of U2.
        members: U2, or S.
        num_needed: t.
        max_share: the largest part that one member may have.
    """
    rho, c = algorithm.max_policy_factor, algorithm.colluding
    v = influence(numbers, algorithm, num_needed)
    within = sorted(members)
    for worker in within:
        others = sorted(v[w] for w in within if w != worker)
        honest = math.fsum(others[: len(others) - c]) / rho
        own = v[worker] * rho
        if own > (max_share + _SLACK) * (own + honest):
            return (
                f"{worker} would be {own / (own + honest):.3f} of the sum, at most "
                f"{max_share} is allowed"
            )
    return ""
