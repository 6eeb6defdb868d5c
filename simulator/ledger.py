"""Checks (iv): no work is lost or counted twice, by what books, log and parameters say of it.

Each step of worker w adds one to value w of every block, so its work is a whole number, and on the
integers

    committed + spent + local = durable steps,     for every worker, exactly:

over the whole run, and again since the newest roll-back by the learner's own count, which that set
to zero. Committed is what the log's numbers say. That the aggregates hold just that is shown by
`sums.py`, with nothing left out but what the workers keep as residuals.

Where only some blocks travel, a block's parameters drift on: they stand off the base by all steps
since the last round that took work off this block. `taken` follows that from the books.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np

from common.codec.selection import I64
from common.documents import Record
from simulator.worker import SimulatedWorker

_CLOSE: Final = 1e-3

SentBy = Callable[[SimulatedWorker, str], I64]
"""The blocks off which a round that ended took a worker's work."""


def taken(worker: SimulatedWorker, num_blocks: int, sent: SentBy) -> tuple[Mapping[str, I64], I64]:
    """Return what each round since the newest roll-back took off each block, and what is left.

    Both are steps, int64[num_blocks]. A round takes all steps up to the newest one that it froze.
    """
    books = worker.trainer.learner.books
    rounds: dict[str, I64] = {}
    mark = np.full(num_blocks, books.undone)
    for round_id, newest in sorted(books.closed.items(), key=lambda item: item[1]):
        blocks = sent(worker, round_id)
        rounds[round_id] = np.zeros_like(mark)
        rounds[round_id][blocks] = newest - mark[blocks]
        mark[blocks] = newest
    return rounds, worker.trainer.learner.steps + books.undone - mark


def steps(worker: SimulatedWorker, records: list[Record], local_steps: I64) -> Iterator[str]:
    """Yield what is wrong with a worker's account of its steps.

    Args:
        local_steps: that are left in each block, from `taken`.
    """
    committed: dict[str, int] = {}
    since: dict[str, int] = {}
    for record in records:
        if record.rollback is not None:
            since = {}
        elif record.commit is not None and worker.name in record.commit.survivors:
            plan, numbers = record.commit.plan, record.commit.numbers[worker.name]
            committed[plan.round] = since[plan.round] = numbers.steps

    learner, local = worker.trainer.learner, worker.trainer.paced.trainer.ledger.steps
    for round_id in sorted(committed.keys() & learner.books.spent.keys()):
        if not worker.history.waited_for(round_id):
            yield f"(iv) {worker.name} spent what round {round_id[:8]} committed"
    spent = sum(n for r, n in learner.books.spent.items() if r not in committed)
    before = {r: n for r, n in learner.books.spent_before.items() if r not in committed}
    for when, counted, terms in (
        ("", learner.steps + learner.books.undone, (committed, before)),
        (" since the newest roll-back", learner.steps, (since, {})),
    ):
        held, given_up = sum(terms[0].values()), spent + sum(terms[1].values())
        if held + given_up + local != counted:
            yield (
                f"(iv) {worker.name}: {held} committed + {given_up} spent + {local} local != "
                f"{counted} steps taken{when}"
            )

    segment = worker.working.store.read(worker.working.replica.version().theta[0])
    base = np.frombuffer(segment, "<f4").reshape(len(local_steps), -1)[:, learner.index]
    moved = learner.counts - base
    for block in np.flatnonzero(np.abs(moved - local_steps) > _CLOSE):
        yield (
            f"(iv) {worker.name} stands {moved[block]:g} steps off its base in block {block}, its "
            f"ledger says {local_steps[block]}"
        )
