"""Who is in the run now: one session per worker name, its lease, and what is known of its speed.

A worker is live while it was heard within its lease, whether or not its stream is open. A newer
session of the same name takes over. It never decides about rounds or offers: it only says who is
there; `coordinator/run.py` draws the consequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Final

from common import canonical
from common.documents import Algorithm, Offer
from common.errors import BadNumbersError, IncompatibleError, NotAMemberError
from common.ids import SessionId, WorkerId
from coordinator.head import RunHead
from coordinator.ports import Delete, Joined, Put, Table

OUTLIER: Final = 16
"""So many times the median, and a speed counts for no more than that."""

MAX_COUNT: Final = 2**48
"""No count and no rate of a worker is larger: sums of them fit in 64 bits."""


@dataclass(frozen=True, slots=True)
class SavedMember:
    """What the store keeps of a member, for people: a rejoin rebuilds it."""

    session: SessionId
    boot: str
    version: int
    speed: int
    link_bps: int


@dataclass(slots=True)
class Member:
    """One worker that joined and has not left.

    Args:
        session: its newest session; closed where `connected` is false.
        boot: drawn when its process started.
        version: that it stands on.
        speed: tokens per second; 0 = not measured yet.
        heard_s: when it was last heard.
        link_bps: upload speed in bits per second; 0 = not measured yet.
        pending_steps: local steps that no commit holds yet.
        connected: its control stream is open.
        live: it was heard within its lease.
    """

    worker: WorkerId
    session: SessionId
    boot: str
    version: int
    speed: int
    heard_s: float
    link_bps: int = 0
    pending_steps: int = 0
    connected: bool = True
    live: bool = True

    def hear(self, now_s: float) -> bool:
        """Renew the lease; return whether it had ended."""
        was_lost = not self.live
        self.heard_s, self.live = now_s, True
        return was_lost

    def saved(self) -> Put:
        """Return what the store is to keep."""
        state = SavedMember(self.session, self.boot, self.version, self.speed, self.link_bps)
        return Put(Table.MEMBERS, self.worker, canonical.encode(state))


class Membership:
    """See the module docstring.

    Args:
        lease_s: seconds of silence after which a worker is not live.
    """

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._by_worker: dict[WorkerId, Member] = {}
        self._by_session: dict[SessionId, Member] = {}

    def join(self, event: Joined, now_s: float) -> Member | None:
        """Let a session in; return what was known of the same worker until now."""
        former = self._by_worker.get(event.worker)
        if former is not None:
            self._by_session.pop(former.session, None)
        member = Member(event.worker, event.session, event.boot, event.version, event.speed, now_s)
        self._by_worker[event.worker] = self._by_session[event.session] = member
        return former

    def disconnect(self, session: SessionId) -> Member | None:
        """Note that a stream broke; return whose it was, None where it was over before."""
        member = self._by_session.pop(session, None)
        if member is not None:
            member.connected = False
        return member

    def remove(self, worker: WorkerId) -> Delete:
        """Forget a worker."""
        member = self._by_worker.pop(worker)
        self._by_session.pop(member.session, None)
        return Delete(Table.MEMBERS, worker)

    def of_session(self, session: SessionId) -> Member:
        """Return who speaks.

        Raises:
            NotAMemberError: nobody, or a session that is over.
        """
        if (member := self._by_session.get(session)) is None:
            raise NotAMemberError("this session is not open; join again")
        return member

    def is_open(self, session: SessionId) -> bool:
        """Return whether this session has joined and is not over."""
        return session in self._by_session

    def get(self, worker: WorkerId) -> Member | None:
        """Return the member of this name, if there is one."""
        return self._by_worker.get(worker)

    def all(self) -> tuple[Member, ...]:
        """Return every member, live or not, sorted by name."""
        return tuple(m for _, m in sorted(self._by_worker.items()))

    def live(self) -> tuple[Member, ...]:
        """Return the live members, sorted by name."""
        return tuple(m for m in self.all() if m.live)

    def gone(self, offers: Sequence[Offer]) -> frozenset[WorkerId]:
        """Return whose offer of these was made by a process that is not live any more."""
        there = {(m.worker, m.boot) for m in self.live()}
        return frozenset(o.worker for o in offers if (o.worker, o.boot) not in there)

    def lapse(self, now_s: float) -> tuple[Member, ...]:
        """Return the members whose lease has just ended; from here on they are not live."""
        silent = tuple(m for m in self.live() if now_s - m.heard_s > self._lease_s)
        for member in silent:
            member.live = False
        return silent

    def local_steps(self, member: Member, algorithm: Algorithm) -> int:
        """Return H_i: local steps per contribution, in proportion to speed.

        The fastest live member gets H; whoever is not measured yet gets H too. A speed is a
        worker's word: one beyond `OUTLIER` times the median slows nobody further.
        """
        h, fewest = algorithm.local_steps, min(algorithm.min_local_steps, algorithm.local_steps)
        measured = [m.speed for m in self.live() if m.speed > 0]
        if member.speed == 0 or not measured:
            return h
        fastest = min(max(measured), OUTLIER * median_low(measured))
        rounded = (2 * h * member.speed + fastest) // (2 * fastest)  # half up, in integers
        return max(fewest, min(rounded, h))


def check_report(worker: WorkerId, version: int, rate: int, head: RunHead) -> None:
    """Refuse what no worker of this run says of itself.

    Args:
        rate: its speed or link, whichever is larger.

    Raises:
        IncompatibleError: it stands on a version that this run does not have.
        BadNumbersError: the rate is too large to be added up.
    """
    if version > head.version:
        raise IncompatibleError(
            f"{worker} stands on version {version}, this run on {head.version}; "
            "start the worker from an empty state folder"
        )
    if rate > MAX_COUNT:
        raise BadNumbersError(f"{worker}: speed or link is {rate}, must be at most {MAX_COUNT}")
