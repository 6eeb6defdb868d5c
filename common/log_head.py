"""The head of a log, as one reader has it: which record can be the next one.

Numbers are nobody's to choose: seq and version count up by one, a round starts from the head before
it, counters and progress follow from the commits. Only elapsed seconds are the coordinator's own,
and they never go back. A record that says otherwise is of no honest log.
"""

from dataclasses import dataclass, fields, replace
from typing import Self

from common import canonical
from common.checks import plan_complaint
from common.documents import Commit, Counters, Genesis, Record
from common.errors import DivergedError, ProtocolError
from common.ids import Digest
from common.progress import next_counters, progress
from common.terms import num_fragments

KINDS = ("takeover", "commit", "abort", "evaluation", "control", "rollback")


@dataclass(frozen=True, slots=True)
class LogHead:
    """See the module docstring. A document: who follows a log stores how far it came.

    Args:
        next_seq: first record that was not read.
        previous: digest of the record before it; of the genesis at 0.
        version: the number of the head there.
        digest: of that version.
        progress: of the run, in [0, 1].
        counters: of the run.
        rolled_back: seq of the newest roll-back's record; -1 = there was none.
    """

    next_seq: int
    previous: Digest
    version: int
    digest: Digest
    progress: float
    counters: Counters
    rolled_back: int = -1

    @classmethod
    def of(cls, genesis: Genesis) -> Self:
        """Return the head of an empty log."""
        return cls(0, canonical.digest(genesis), 0, genesis.version0, 0.0, Counters())

    @classmethod
    def at(cls, record: Record) -> Self:
        """Return the head behind a record at which a newcomer begins, and which it believes."""
        return cls(
            next_seq=record.seq + 1,
            previous=canonical.digest(record),
            version=record.version,
            digest=record.digest,
            progress=record.progress,
            counters=record.counters,
            rolled_back=record.rolled_back,
        )

    def after(self, genesis: Genesis, record: Record) -> "LogHead":
        """Return the head after one more record.

        Raises:
            ProtocolError: it does not follow this one (rule 14).
            DivergedError: it says what cannot be.
        """
        if record.seq != self.next_seq or record.previous != self.previous:
            raise ProtocolError(
                f"log record {record.seq} does not follow record {self.next_seq - 1} as it was read"
                " here: the coordinator has another log; give it its own data_dir, or this process"
                " an empty state_dir"
            )
        if complaint := self._complaint(genesis, record):
            raise DivergedError(f"log record {record.seq} is of no honest log: {complaint}")
        return LogHead.at(record)

    def _complaint(self, genesis: Genesis, record: Record) -> str:
        kinds = [kind for kind in KINDS if getattr(record, kind) is not None]
        if len(kinds) != 1:
            return f"it is of {len(kinds)} kinds ({', '.join(kinds)}), must be of one"
        moves = record.commit is not None or record.rollback is not None
        if record.version != self.version + moves:
            return (
                f"its version is {record.version}, after {self.version} a {kinds[0]} must give "
                f"{self.version + moves}"
            )
        if not moves and record.digest != self.digest:
            return f"a {kinds[0]} moves the head to {record.digest[:16]}..."
        if record.rollback is not None and not 0 <= record.rollback.version <= self.version:
            return f"it returns to version {record.rollback.version}, the head is {self.version}"
        rolled_back = self.rolled_back if record.rollback is None else record.seq
        if record.rolled_back != rolled_back:
            return f"its newest roll-back is {record.rolled_back}, it must be {rolled_back}"
        elapsed_s = record.counters.elapsed_s
        if elapsed_s < self.counters.elapsed_s:
            return f"the run's time goes back from {self.counters.elapsed_s} s to {elapsed_s} s"
        if record.commit is None:
            counters, made = replace(self.counters, elapsed_s=elapsed_s), self.progress
        else:
            if complaint := self._commit_complaint(genesis, record.commit):
                return complaint
            counters = next_counters(genesis, self.counters, record.commit, elapsed_s)
            hours = record.commit.plan.hours
            made = progress(genesis, record.version, counters.tokens, hours)
        if record.counters != counters:
            names = (f.name for f in fields(Counters))
            differ = (n for n in names if getattr(record.counters, n) != getattr(counters, n))
            return f"its counters do not follow from the commits: {', '.join(differ)}"
        if record.progress != made:
            return f"its progress is {record.progress}, the commits give {made}"
        return ""

    def _commit_complaint(self, genesis: Genesis, commit: Commit) -> str:
        """Return why a commit cannot start from this head, or be counted."""
        plan, codec = commit.plan, genesis.algorithm.codec
        if (plan.version, plan.digest) != (self.version, self.digest):
            return (
                f"its round starts from version {plan.version} {plan.digest[:16]}..., the head is "
                f"{self.version} {self.digest[:16]}..."
            )
        if plan.bits not in (codec.bits, codec.first_bits):
            return f"its round has {plan.bits} bits, the run's codec has none such"
        if not 0 <= plan.fragment < num_fragments(codec):
            return f"its round is of fragment {plan.fragment} of {num_fragments(codec)}"
        if complaint := plan_complaint(genesis, plan):
            return f"of its round, {complaint}"
        if not set(commit.survivors) <= commit.numbers.keys():
            return "a survivor has no numbers"
        return ""
