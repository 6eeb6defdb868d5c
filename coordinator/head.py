"""Where a run's log stands: everything that follows from its records, folded one by one.

A restarted coordinator folds the log and knows what the one before it knew, but for live state
(members, offers, the open round). It reads no files: whoever owns the log feeds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self

from common import canonical
from common.documents import Control, Counters, Evaluation, Genesis, Record
from common.errors import DamagedDataError
from common.ids import Digest, WorkerId

NUM_KNOWN_DIGESTS: Final = 1024
"""Versions whose digests stay known: more than are made while an evaluator measures one."""


@dataclass(frozen=True, slots=True)
class RunHead:
    """The state of a run after a whole number of records.

    Args:
        num_records: length of the log, and the next record's seq.
        previous: what the next record names: digest of the newest one, of the genesis before any.
        epoch: seq of the newest takeover.
        version: of the head, with its digest.
        commits: in the head's state; fewer than `version` after a roll-back.
        rolled_back: the version that the newest roll-back made; 0 = there was none. Work that
            stands on an older one is lost.
        rolled_back_seq: seq of its record; -1 = there was none.
        evaluation: the newest one, if any.
        paused_by: the operator whose pause holds; "" = not paused.
        stopped: why the run is over; "" = it is not.
        num_aborts: rounds that ended without a step.
        outcome_seq: seq of the newest commit or abort; -1 before any.
        made_by: the commit that made the head; None where it is version 0, or a roll-back's.
        words: members' words for it that are in the log.
        digests: of the newest versions, the head's last; at most NUM_KNOWN_DIGESTS.
    """

    num_records: int
    previous: Digest
    epoch: int
    version: int
    digest: Digest
    progress: float
    counters: Counters
    commits: int = 0
    rolled_back: int = 0
    rolled_back_seq: int = -1
    evaluation: Evaluation | None = None
    paused_by: str = ""
    stopped: str = ""
    num_aborts: int = 0
    outcome_seq: int = -1
    made_by: Record | None = None
    words: Mapping[WorkerId, str] = field(default_factory=dict)
    digests: tuple[Digest, ...] = ()

    @classmethod
    def of(cls, genesis: Genesis) -> Self:
        """Return the head of an empty log."""
        first = genesis.version0
        return cls(0, canonical.digest(genesis), 0, 0, first, 0.0, Counters(), digests=(first,))

    def digest_of(self, version: int) -> Digest | None:
        """Return the digest of a version; None where it is too old to be known, or yet to come."""
        behind = self.version - version
        return self.digests[-1 - behind] if 0 <= behind < len(self.digests) else None

    def after(self, record: Record) -> "RunHead":
        """Return the head after one more record.

        Raises:
            DamagedDataError: it is not the next one of this log.
        """
        if record.seq != self.num_records or record.previous != self.previous:
            raise DamagedDataError(
                f"record {record.seq} does not follow record {self.num_records - 1} of this log; "
                "restore the log from a copy"
            )
        head = replace(
            self,
            num_records=record.seq + 1,
            previous=canonical.digest(record),
            epoch=record.epoch,
            version=record.version,
            digest=record.digest,
            progress=record.progress,
            counters=record.counters,
            words={**self.words, **(record.words or {})},
        )
        if record.commit is not None or record.rollback is not None:
            kept = self.digests[1 - NUM_KNOWN_DIGESTS :]
            head = replace(head, digests=(*kept, record.digest))
        if record.commit is not None:
            commits = self.commits + 1
            return replace(head, outcome_seq=record.seq, commits=commits, made_by=record, words={})
        if record.rollback is not None:
            return replace(
                head,
                rolled_back=record.version,
                rolled_back_seq=record.seq,
                commits=record.rollback.commits,
                made_by=None,
                words={},
            )
        if record.abort is not None:
            return replace(head, outcome_seq=record.seq, num_aborts=self.num_aborts + 1)
        if record.evaluation is not None:
            return replace(head, evaluation=record.evaluation)
        if record.control is not None:
            return head._controlled(record.control)
        return head

    def _controlled(self, control: Control) -> "RunHead":
        match control.action:
            case "pause":
                return replace(self, paused_by=control.by)
            case "resume":
                return replace(self, paused_by="")
            case "stop":
                why = control.detail if control.by == "limit" else f"stopped by {control.by}"
                return replace(self, stopped=why)
        return self
