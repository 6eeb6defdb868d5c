"""The plan of a cohort that has just closed: what all its members need to know, and no more."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from common.documents import Genesis, Offer, Plan
from common.ids import RoundId, WorkerId
from common.terms import round_bits, round_fragment, round_layout
from common.thresholds import round_threshold
from coordinator.head import RunHead
from coordinator.membership import Member
from coordinator.ports import Note

LINK_MARGIN: Final = 3
"""The slowest link of a cohort may need this many times as long as was measured."""


@dataclass(frozen=True, slots=True)
class Timings:
    """How long this coordinator waits.

    Args:
        lease_s: silence after which a worker is lost. More: a lost one holds its round up longer.
        key_timeout_s: for each exchange of small messages.
        upload_timeout_s: for an upload, at least; slow links get more.
        default_grace_s: what a quorum waits for the rest until two cohorts have closed.
        resolve_timeout_s: for the members of a failed masked round to abandon it.
    """

    lease_s: float = 10.0
    key_timeout_s: float = 10.0
    upload_timeout_s: float = 60.0
    default_grace_s: float = 2.0
    resolve_timeout_s: float = 30.0


def new_plan(
    genesis: Genesis,
    head: RunHead,
    *,
    round_id: RoundId,
    offers: tuple[Offer, ...],
    live: Iterable[Member],
    elapsed_s: float,
    timings: Timings,
) -> Plan:
    """Return the plan of one round.

    Args:
        offers: of the roster, sorted by worker.
        live: all live members, the roster among them.
        elapsed_s: seconds that the run was led.
    """
    speeds = {m.worker: m.speed for m in live} | {o.worker: o.speed for o in offers}
    bits = round_bits(genesis.algorithm.codec, head.commits)
    fragment = round_fragment(genesis.algorithm.codec, head.commits)
    num_bytes = round_layout(genesis, bits, fragment).sent_bytes
    return Plan(
        run=genesis.run,
        round=round_id,
        tier=genesis.algorithm.tier,
        version=head.version,
        digest=head.digest,
        fragment=fragment,
        bits=bits,
        threshold=round_threshold(len(offers), genesis.algorithm),
        live_speed=_live_speed(speeds, offers),
        num_live=len(speeds),
        hours=elapsed_s / 3600,
        key_timeout_s=timings.key_timeout_s,
        upload_timeout_s=_upload_timeout_s(num_bytes, offers, timings),
        offers=offers,
    )


def _live_speed(speeds: Mapping[WorkerId, int], offers: tuple[Offer, ...]) -> int:
    """Return what the roster's part of the run is measured against.

    Who only says that it is fast counts for no more than the fastest of those who bring work: else
    its word alone would make everybody's steps nothing.
    """
    roster = {o.worker: o.speed for o in offers}
    fastest = max(roster.values(), default=0)
    others = (min(s, fastest) for w, s in speeds.items() if w not in roster)
    return sum(roster.values()) + sum(others)


def _upload_timeout_s(num_bytes: int, offers: tuple[Offer, ...], timings: Timings) -> float:
    links_bps = [o.link_bps for o in offers if o.link_bps > 0]
    if not links_bps:
        return timings.upload_timeout_s
    return max(timings.upload_timeout_s, LINK_MARGIN * num_bytes * 8 / min(links_bps))


def closed(plan: Plan) -> Note:
    """Return what is said of a cohort that was closed."""
    return Note(
        "closed",
        f"round {plan.round} on version {plan.version}: {', '.join(plan.roster)}; "
        f"{plan.num_live} live, {plan.threshold} needed",
        round=plan.round,
    )
