"""Makes every record of the log, always in the same three steps: append, save, publish.

    Append (the commit point) -> Save (the store's copy of the head) -> Publish

So nobody can hear of anything that is not in the log. It decides nothing.
"""

from dataclasses import replace

from common import canonical
from common.documents import Abort, Control, Evaluation, Genesis, Record, Rollback, Takeover
from common.ids import Digest
from common.progress import next_counters, progress
from coordinator.head import RunHead
from coordinator.ports import Append, Computed, Delete, Effect, Publish, Put, Save, Table
from coordinator.words import HeadWords

Change = Put | Delete


class Ledger:
    """See the module docstring.

    Args:
        head: the log so far, folded.
        unix_offset_s: Unix time minus the clock of every `now_s`; it dates records, nothing else.
    """

    def __init__(self, genesis: Genesis, head: RunHead, unix_offset_s: float) -> None:
        self.head = head
        self.words = HeadWords(genesis)
        self._genesis = genesis
        self._unix_offset_s = unix_offset_s
        self._led_before_s = head.counters.elapsed_s
        self._since_s: float | None = None

    def elapsed_s(self, now_s: float) -> float:
        """Return for how long the run went on, under every coordinator of it."""
        return self._led_before_s + (0.0 if self._since_s is None else now_s - self._since_s)

    def begin(self, now_s: float) -> None:
        """A worker joined: from the first one on, this coordinator's time counts."""
        if self._since_s is None:
            self._since_s = now_s

    def takeover(self, leader: str, now_s: float, *changes: Change) -> tuple[Effect, ...]:
        """A coordinator begins to lead: the record's seq is its epoch."""
        record = replace(self._next(now_s), epoch=self.head.num_records, takeover=Takeover(leader))
        return self._append(record, changes)

    def commit(self, event: Computed, now_s: float, *changes: Change) -> tuple[Effect, ...]:
        """A round became the next version."""
        before, genesis = self._next(now_s), self._genesis
        version, hours = before.version + 1, event.commit.plan.hours
        elapsed_s = before.counters.elapsed_s
        counters = next_counters(genesis, before.counters, event.commit, elapsed_s)
        record = replace(
            before,
            version=version,
            digest=event.digest,
            progress=progress(genesis, version, counters.tokens, hours),
            counters=counters,
            commit=event.commit,
        )
        return self._append(record, changes)

    def abort(self, abort: Abort, now_s: float, *changes: Change) -> tuple[Effect, ...]:
        """A round ended without a step."""
        return self._append(replace(self._next(now_s), abort=abort), changes)

    def evaluation(self, evaluation: Evaluation, now_s: float) -> tuple[Effect, ...]:
        """The evaluator measured a version."""
        kept = Put(Table.EVALUATIONS, "newest", canonical.encode(evaluation))
        return self._append(replace(self._next(now_s), evaluation=evaluation), (kept,))

    def control(self, control: Control, now_s: float) -> tuple[Effect, ...]:
        """An operator, or a limit, changed the course of the run."""
        return self._append(replace(self._next(now_s), control=control), ())

    def rollback(
        self, rollback: Rollback, digest: Digest, now_s: float, *changes: Change
    ) -> tuple[Effect, ...]:
        """An earlier version's state, `digest`, is the head again; every counter goes on."""
        record = self._next(now_s)
        version, seq = record.version + 1, record.seq
        record = replace(record, version=version, digest=digest, rolled_back=seq, rollback=rollback)
        return self._append(record, changes)

    def _next(self, now_s: float) -> Record:
        """Return the log's next record; it tells nothing yet but words that no record holds."""
        head = self.head
        return Record(
            seq=head.num_records,
            previous=head.previous,
            epoch=head.epoch,
            time_s=int(now_s + self._unix_offset_s),
            version=head.version,
            digest=head.digest,
            progress=head.progress,
            counters=replace(head.counters, elapsed_s=int(self.elapsed_s(now_s))),
            rolled_back=head.rolled_back_seq,
            words=self.words.unrecorded(head),
        )

    def _append(self, record: Record, changes: tuple[Change, ...]) -> tuple[Effect, ...]:
        self.head = self.head.after(record)
        saved = Save(
            (
                Put(Table.STATE, "num_records", str(self.head.num_records).encode("ascii")),
                Put(Table.STATE, "version", str(record.version).encode("ascii")),
                Put(Table.STATE, "digest", record.digest.encode("ascii")),
                Put(Table.COUNTERS, "run", canonical.encode(record.counters)),
                *changes,
            )
        )
        return (Append(record), saved, Publish(record))
