"""Which record a coordinator can show one worker next, true or not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from common.documents import Abort, Control, Plan, Record, Rollback
from common.ids import Digest, WorkerId
from common.log_head import LogHead
from simulator.explorer.given import Given, Move
from simulator.explorer.knowledge import Sum
from simulator.explorer.seat import Seat
from simulator.explorer.storing import interned
from simulator.explorer.world import (
    GENESIS,
    INVENTED,
    commit_of,
    made_up_sum,
    record_after,
    true_sum,
)
from worker.rounds.ports import Recorded

MOST_HELD: Final = 2
"""Records on top of each other that a worker waits on: more lead to nothing else."""


def records(seat: Seat, given: Given, sums: Sequence[Sum]) -> Iterator[Move]:
    """Yield the records that a worker can be shown next."""
    if not seat.conduct.begun or seat.holds > MOST_HELD:
        return
    head = LogHead.at(seat.log[-1])
    words = _words(seat, given)
    for name, record, lie in _next_records(seat, given, head, words, sums):
        yield Move(name, (Recorded(record),), lie=lie)
        if record.commit is not None or record.rollback is not None:
            withheld = f"{name}, its files withheld"
            kinds = "+".join(filter(None, (lie, "withheld files")))
            yield Move(withheld, (Recorded(record),), served=False, lie=kinds)


def _words(seat: Seat, given: Given) -> Mapping[WorkerId, str] | None:
    """Return the words that the next record can bear: about the newest commit of this log."""
    about = next((r for r in reversed(seat.log) if r.commit is not None), None)
    if about is None or about.commit is None:
        return None
    plan = interned(about.commit.plan)
    found = {
        w.worker: w.signature
        for w in given.words
        if (w.plan, w.version, w.digest) == (plan, about.version, about.digest) and w.signature
    }
    return found or None


def _next_records(
    seat: Seat,
    given: Given,
    head: LogHead,
    words: Mapping[WorkerId, str] | None,
    sums: Sequence[Sum],
) -> Iterator[tuple[str, Record, str]]:
    for digest, by_worker in given.answers.items():
        plan = next(iter(by_worker.values())).plan
        if (plan.version, plan.digest) == (head.version, head.digest):
            yield from _commits(plan, given, digest, head, words, sums)
        stage = seat.conduct.part.round.stage
        if stage is not None and stage.plan == plan:
            signed = {w: f.signature.hex() for w, f in given.abandons.get(digest, {}).items()}
            abort = Abort(plan.round, plan.roster, "stopped", "", signed or None)
            by = ",".join(sorted(signed)) or "nobody"
            name = f"abort of {','.join(plan.roster)}, abandoned by {by}"
            yield name, record_after(head, abort=abort, words=words), ""
    if head.version > 0 and not seat.holds:
        back = Rollback(0, 0, "eve")
        record = record_after(head, rollback=back, digest=GENESIS.version0, words=words)
        yield "roll-back to version 0", record, "forged record"
    if words and set(words) - {w for r in seat.log for w in r.words or ()}:
        told = record_after(head, control=Control("resume", "eve", ""), words=words)
        yield "words", told, ""


def _commits(
    plan: Plan,
    given: Given,
    digest: Digest,
    head: LogHead,
    words: Mapping[WorkerId, str] | None,
    sums: Sequence[Sum],
) -> Iterator[tuple[str, Record, str]]:
    told = {w: f.answer.numbers for w, f in given.answers[digest].items()}
    lists = given.lists.get(digest, ())
    if len(told) < plan.threshold:
        return
    everybody = tuple(sorted(told))
    crafted = commit_of(plan, told, everybody, made_up_sum(plan))
    name = f"commit of a made-up sum of {','.join(everybody)}"
    yield name, record_after(head, commit=crafted, words=words), "forged record"
    for found in sums:
        if interned(found.plan) != digest:
            continue
        told = dict(found.told)
        survivors = tuple(sorted(found.group | set(INVENTED) & found.told.keys()))
        signed = {w: f.signature.hex() for w, f in lists if f.survivors == survivors}
        aggregate = true_sum(plan, found.kappa, survivors)
        who = ",".join(survivors)
        made = commit_of(plan, told, survivors, aggregate, signed or None)
        yield f"commit of {who}", record_after(head, commit=made, words=words), ""
        other = {w: replace(n, lr_sum=2 * n.lr_sum) for w, n in told.items()}
        wrong = commit_of(plan, other, survivors, aggregate, signed or None)
        name = f"commit of {who} with other numbers"
        yield name, record_after(head, commit=wrong, words=words), "invented number"
