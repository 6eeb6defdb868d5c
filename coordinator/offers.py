"""The buffer of offers, and when it is time to close a cohort.

An offer lives as long as the session that made it, and is used once: the last one that a plan used
is refused here, older ones by the worker itself. A newer offer of the same worker takes the older
one's place in age, so nobody loses a turn by training on.

    sync   closes when every live member has offered
    async  closes then too, or when a quorum has offered and a grace time has passed

In the masked tier no cohort has two members of one organisation (workers refuse it: rule 3), so
there both count organisations: one has offered where any of its workers has. Of two that wait the
older offer is taken, and the other waits for the next cohort.

Neither closes below `min_cohort`. It knows nothing of rounds: a quorum may wait out its grace time
while a round is open, and the run closes at the next boundary.
"""

import math
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Final

from common import canonical
from common.documents import Genesis, Offer
from common.errors import (
    BadKeyError,
    BadNumbersError,
    BadSignatureError,
    IncompatibleError,
    NotAMemberError,
    UnexpectedMessageError,
)
from common.ids import WorkerId
from common.parties import Admits, own_party
from common.secagg.transcript import is_signed, offered_keys, signed_content
from coordinator.head import RunHead
from coordinator.membership import MAX_COUNT, Member

MAX_OFFER_BYTES: Final = 2**14
"""Of an offer's document: it goes to every member, and into the log."""

NUM_INTERVALS: Final = 8
"""How many intervals between closes the grace time is taken from."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One offer, and since when its worker has had one here."""

    offer: Offer
    since_s: float


class Offers:
    """See the module docstring.

    Args:
        genesis: names the run; its algorithm has policy, quorum, sizes, allowed staleness.
        default_grace_s: grace time before there is any interval to take it from.
        admits: says whose certificate it is that an offer holds.
    """

    def __init__(self, genesis: Genesis, default_grace_s: float, admits: Admits) -> None:
        self._admits = admits
        self._run = genesis.run
        self._algorithm = genesis.algorithm
        self._default_grace_s = default_grace_s
        self._waiting: dict[WorkerId, Waiting] = {}  # oldest first
        self._organisations: dict[WorkerId, str] = {}
        self._used: dict[WorkerId, str] = {}  # nonce of the last offer that a plan used
        self._quorum_since_s: float | None = None
        self._closed_s: float | None = None
        self._intervals_s: deque[float] = deque(maxlen=NUM_INTERVALS)

    def __contains__(self, worker: WorkerId) -> bool:
        return worker in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def belongs(self, worker: WorkerId, organisation: str) -> None:
        """Note who controls a worker; "" = itself."""
        self._organisations[worker] = organisation

    def apart(self, workers: Iterable[WorkerId]) -> int:
        """Return how many of these one cohort could have."""
        return len({self._party(worker) for worker in workers})

    def _party(self, worker: WorkerId) -> tuple[str, str]:
        """Return of what there is one in a cohort: an organisation, or the worker itself."""
        organisation = self._organisations.get(worker, "") if self._algorithm.masked else ""
        return ("organisation", organisation) if organisation else ("worker", worker)

    def check(self, offer: Offer, member: Member, head: RunHead) -> None:
        """Refuse an offer that no plan may use now.

        Raises:
            NotAMemberError: it is another worker's than `member`, who sent it.
            BadNumbersError: it says what no honest worker says.
            IncompatibleError: it is for another run, or stands on a version that this one has not.
            UnexpectedMessageError: it is of an earlier boot, used, or too many versions behind.
            BadKeyError, BadSignatureError, NotAMemberError: every other member would refuse it.
        """
        if offer.worker != member.worker:
            raise NotAMemberError(f"{member.worker} offers in the name of {offer.worker}")
        if offer.run != self._run:
            raise IncompatibleError(f"the offer is for run {offer.run}, this is {self._run}")
        if offer.boot != member.boot:
            raise UnexpectedMessageError("the offer is of another boot than its session")
        if (num_bytes := len(canonical.encode(offer))) > MAX_OFFER_BYTES:
            raise BadNumbersError(
                f"offer: {num_bytes} bytes, at most {MAX_OFFER_BYTES} go into a plan"
            )
        counts = (offer.tokens, offer.steps, offer.speed)
        if min(counts) < 1 or max(*counts, offer.link_bps) > MAX_COUNT:
            raise BadNumbersError(
                f"offer: tokens, steps and speed must be from 1 to {MAX_COUNT}, got {counts}"
            )
        if min(offer.version, offer.age_256, offer.link_bps) < 0 or offer.lr_sum <= 0:
            raise BadNumbersError("offer: version, age and link must not be negative, nor A be 0")
        known = offer.version < head.version or (offer.version, offer.digest) == (
            head.version,
            head.digest,
        )
        if not known:
            raise IncompatibleError(
                f"the offer stands on version {offer.version} ({offer.digest[:12]}), this run on "
                f"{head.version} ({head.digest[:12]}); start the worker from an empty state folder"
            )
        if offer.version < head.rolled_back:
            raise UnexpectedMessageError(
                f"the offer stands on version {offer.version}, from before the roll-back to version"
                f" {head.rolled_back}: follow the log, then offer again"
            )
        if self._is_stale(offer, head.version):
            raise UnexpectedMessageError(
                f"the offer stands on version {offer.version}, the run on {head.version}: "
                "follow the log, then offer again"
            )
        if (offer.keys is not None) != self._algorithm.masked:
            raise BadNumbersError(f"offer: keys in privacy tier {self._algorithm.tier}")
        if offer.keys is not None:
            check_signed(offer, self._admits)
        if self._used.get(offer.worker) == offer.nonce:
            raise UnexpectedMessageError("an offer is used once, and a plan has used this one")

    def add(self, offer: Offer, now_s: float) -> None:
        """Keep a checked offer; it replaces the worker's older one in its place."""
        former = self._waiting.get(offer.worker)
        since_s = now_s if former is None else former.since_s
        self._waiting[offer.worker] = Waiting(offer, since_s)

    def drop(self, worker: WorkerId) -> bool:
        """Forget a worker's offer; return whether there was one."""
        return self._waiting.pop(worker, None) is not None

    def drop_all(self) -> tuple[WorkerId, ...]:
        """Forget every offer; return whose they were."""
        dropped = tuple(self._waiting)
        self._waiting.clear()
        return dropped

    def drop_stale(self, version: int) -> tuple[WorkerId, ...]:
        """Forget the offers that are too many versions behind `version`; return whose they were."""
        stale = tuple(w for w, o in self._waiting.items() if self._is_stale(o.offer, version))
        for worker in stale:
            del self._waiting[worker]
        return stale

    def is_due(self, live: Iterable[WorkerId], now_s: float) -> bool:
        """Return whether a cohort should close now; to be asked at every event."""
        live = frozenset(live)
        offered, most = self.apart(self._waiting.keys() & live), self.apart(live)
        if offered < self.quorum(most):
            self._quorum_since_s = None
            return False
        if self._quorum_since_s is None:
            self._quorum_since_s = now_s
        return offered == most or now_s >= self._quorum_since_s + self.grace_s()

    def quorum(self, num_live: int) -> int:
        """Return how many of `num_live` must have offered before a close.

        Args:
            num_live: live members; see `apart`.
        """
        a = self._algorithm
        if a.policy == "sync":
            return max(1, a.min_cohort, num_live)
        # 1e-9: 0.07 * 100 is 7.000000000000001, and seven of a hundred are enough.
        return max(1, a.min_cohort, math.ceil(a.quorum * num_live - 1e-9))

    def grace_s(self) -> float:
        """Return how long a quorum waits for the rest."""
        return median(self._intervals_s) / 2 if self._intervals_s else self._default_grace_s

    def take(self, now_s: float, left_out: Collection[WorkerId] = ()) -> tuple[Offer, ...]:
        """Close: remove the oldest offers, at most `max_cohort`; return them sorted by worker.

        Args:
            left_out: whose offers go on waiting.
        """
        allowed = (w for w in self._waiting if w not in left_out)
        first: dict[tuple[str, str], WorkerId] = {}
        for worker in allowed:
            first.setdefault(self._party(worker), worker)
        oldest = tuple(first.values())[: self._algorithm.max_cohort]
        taken = tuple(self._waiting.pop(worker).offer for worker in sorted(oldest))
        self._used.update({o.worker: o.nonce for o in taken})
        if self._closed_s is not None:
            self._intervals_s.append(now_s - self._closed_s)
        self._closed_s = now_s
        self._quorum_since_s = None
        return taken

    def skip_interval(self) -> None:
        """Forget when the last close was: a pause says nothing about the workers' pace."""
        self._closed_s = None

    def since_s(self) -> float | None:
        """Return since when the oldest offer has waited."""
        return next((o.since_s for o in self._waiting.values()), None)

    def _is_stale(self, offer: Offer, version: int) -> bool:
        return version - offer.version > self._algorithm.max_staleness


def check_signed(offer: Offer, admits: Admits) -> None:
    """Refuse an offer that would only make the other members refuse its plan.

    Raises:
        BadKeyError: a key is missing, or is none; or anybody could derive its secrets.
        NotAMemberError: the certificate is not its worker's own, of the CA, valid now.
        BadSignatureError: that certificate's key has not signed it.
    """
    for key in offered_keys(offer):
        key.check_order()
    if offer.keys is None:
        raise BadKeyError(f"the offer of {offer.worker} holds no keys")
    party = own_party(offer.worker, offer.keys.certificate, admits)
    if not is_signed(party.key, "offer", signed_content(offer), offer.signature):
        raise BadSignatureError(f"{offer.worker}: the signature of its offer is wrong")
