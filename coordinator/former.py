"""Reads which round an earlier coordinator left open, as the store tells of it.

The store is a cache, and whoever writes it is not asked who they are: what is found there is
believed only as far as the log and the genesis bear it out. What does not pass counts as lost, as
if the store had been emptied: nothing of it is recorded, dropped or sent.
"""

from collections.abc import Mapping
from typing import Final

from common import canonical
from common.documents import Genesis, Plan
from common.errors import MalformedDocumentError
from common.ids import is_worker_id
from common.rounds import Phase
from common.text import printable
from common.thresholds import round_threshold
from coordinator.head import RunHead
from coordinator.ports import Forgotten, Table
from coordinator.saved_round import OPEN, SavedRound

_OPEN_PHASES: Final = {p.value for p in Phase if not p.is_over} - {Phase.COLLECTING_OFFERS.value}


def former_round(
    found: Mapping[Table, Mapping[str, bytes]], genesis: Genesis, head: RunHead
) -> tuple[SavedRound | None, tuple[Forgotten, ...]]:
    """Return the open round that the store holds, if it holds one that can be; and what is lost.

    Args:
        found: what the store holds.
        genesis: of the run.
        head: of the log.
    """
    content = found.get(Table.ROUND, {}).get(OPEN)
    if content is None:
        return None, ()
    try:
        saved = canonical.decode(content, SavedRound)
    except MalformedDocumentError as e:
        complaint = str(e)
    else:
        complaint = _complaint(saved, genesis, head)
        if not complaint:
            return saved, ()
    return None, (Forgotten(f"{Table.ROUND.value}[{OPEN}]", printable(complaint[:300])),)


def _complaint(saved: SavedRound, genesis: Genesis, head: RunHead) -> str:
    """Return why no coordinator of this run can have left this round; "" = it can."""
    plan, algorithm = saved.plan, genesis.algorithm
    if saved.phase not in _OPEN_PHASES:
        return f"phase is {saved.phase[:40]!r}, in which no round is open"
    if not 0 <= saved.num_records <= head.num_records:
        return f"num_records is {saved.num_records}, the log has {head.num_records}"
    if (plan.run, plan.tier) != (genesis.run, algorithm.tier):
        return (
            f"it is a round of {plan.run[:80]!r} in tier {plan.tier[:20]!r}, "
            f"ours is {genesis.run!r} in {algorithm.tier!r}"
        )
    if complaint := _roster_complaint(plan, genesis):
        return complaint
    members = set(plan.roster)
    if not saved.numbers.keys() <= members or not set(saved.survivors) <= members:
        return "numbers or survivors are of workers that are not in its plan"
    if saved.num_records <= head.outcome_seq:
        return ""  # it is over: the head has moved on
    if (plan.version, plan.digest) != (head.version, head.digest):
        return f"it stands on version {plan.version}, the log's head is {head.version}"
    return ""


def _roster_complaint(plan: Plan, genesis: Genesis) -> str:
    roster, algorithm = plan.roster, genesis.algorithm
    if roster != tuple(sorted(set(roster))):
        return "its offers are not sorted by worker, each once"
    if not algorithm.min_cohort <= len(roster) <= algorithm.max_cohort:
        return f"{len(roster)} offers, must be {algorithm.min_cohort} to {algorithm.max_cohort}"
    if (wanted := round_threshold(len(roster), algorithm)) != plan.threshold:
        return f"threshold is {plan.threshold}, must be {wanted}"
    if not all(map(is_worker_id, roster)):
        return "an offer's worker is no worker's name"
    return ""
