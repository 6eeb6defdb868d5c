"""Audits a log from its records alone: does each follow, and do its members say what it says?

What can be next is `common/log_head.py`'s to say, who may be in a sum `worker/rounds/trust.py`'s,
and how many words are enough `common/words.py`'s: this asks them, as a worker does that reads a log
from its first record on. Sums are not looked at here: `replay.py` does that.

Words for a version stand in the records after its own: whether enough members gave theirs is known
once the next version is made, and the newest one may still wait. It reads no clock and no file.
"""

from collections.abc import Iterator
from typing import Final

from common import canonical
from common.checks import plan_complaint
from common.documents import Commit, Evaluation, Genesis, Plan, Record, Rollback
from common.errors import DivergedError, ProtocolError
from common.evaluations import evaluation_complaint
from common.ids import Digest, WorkerId, is_digest
from common.log_head import LogHead
from common.orders import rollback_complaint
from common.parties import Admits
from common.secagg.transcript import list_content, num_signed
from common.words import agreement, origin_agrees, true_words, word_about
from worker.rounds.trust import cohort_complaint, roster_complaint

_NOBODY: Final = WorkerId("")


class Audit:
    """See the module docstring.

    Args:
        genesis: the run.
        members: whose certificate it is, of a worker, though it may have ended since.
        operators: the same of an operator.
        evaluators: the same of an evaluator; None = nobody can tell, so none is checked.
    """

    def __init__(
        self, genesis: Genesis, members: Admits, operators: Admits, evaluators: Admits | None
    ) -> None:
        self._genesis = genesis
        self._id = canonical.digest(genesis)
        self._members, self._operators, self._evaluators = members, operators, evaluators
        self._epoch = 0
        self._versions: list[Digest] = [genesis.version0]
        self._newest: Record | None = None  # the commit that made the head
        self._said: set[WorkerId] = set()
        self.num_evaluations = 0
        self.head = LogHead.of(genesis)

    def complaint(self, record: Record) -> str:
        """Take the next record; return what is wrong with it, "" if nothing is: else stop here."""
        seq, before = record.seq, self.head
        if (seq, record.previous) != (before.next_seq, before.previous):
            former = f"record {before.next_seq - 1}" if before.next_seq else "the genesis"
            return f"record {seq} does not follow {former} as that is here: one of the two is false"
        try:
            head = before.after(self._genesis, record)
        except (ProtocolError, DivergedError) as e:
            return str(e)
        said = self._true_words(record)
        for complaint in self._complaints(record, said):
            return f"record {seq}: {complaint}"
        self._said |= said
        self.head, self._epoch = head, record.epoch
        self.num_evaluations += record.evaluation is not None
        if record.commit is not None or record.rollback is not None:
            self._versions.append(record.digest)
            self._newest, self._said = (record if record.commit else None), set()
        return ""

    def awaited(self) -> str:
        """Return what the newest version still waits for; "" if nothing."""
        missing = self._num_missing(self._said)
        if self._newest is None or not missing:
            return ""
        num = len(self._said)
        return (
            f"version {self.head.version} (record {self._newest.seq}) has {num} of the "
            f"{num + missing} members' words that it needs; the others are in no record yet"
        )

    def _complaints(self, record: Record, said: set[WorkerId]) -> Iterator[str]:
        epoch = self._epoch if record.takeover is None else record.seq
        if record.epoch != epoch:
            yield f"its epoch is {record.epoch}, the newest takeover is record {epoch}"
        names = (
            [record.digest] if record.commit is None else [record.digest, record.commit.aggregate]
        )
        if not all(map(is_digest, names)):
            yield "a file's name in it is no SHA-256"
        for worker in sorted((record.words or {}).keys() - said):
            yield f"{worker} did not sign the word in it for version {self.head.version}"
        if record.commit is not None:
            yield from self._about_commit(record.commit, said)
        if record.rollback is not None:
            yield from self._about_rollback(record, record.rollback)
        if record.evaluation is not None:
            yield from self._about_evaluation(record.evaluation)

    def _about_commit(self, commit: Commit, said: set[WorkerId]) -> Iterator[str]:
        plan, algorithm = commit.plan, self._genesis.algorithm
        if missing := self._num_missing(self._said | said):
            num = len(self._said | said)
            yield (
                f"it goes on from version {self.head.version}, for which {num} members gave their "
                f"word and {num + missing} are needed"
            )
        if not algorithm.masked:
            return
        if complaint := roster_complaint(plan, self._members):
            yield complaint
        if complaint := cohort_complaint(plan, algorithm):
            yield complaint
        u2, survivors = tuple(sorted(commit.numbers)), commit.survivors
        content = list_content(plan, u2, survivors)
        num = num_signed(plan, "list", content, commit.signatures)
        if survivors != u2 and num < plan.threshold:
            yield f"{num} members signed its list of survivors, {plan.threshold} are needed"

    def _about_rollback(self, record: Record, rollback: Rollback) -> Iterator[str]:
        if self._versions[rollback.version] != record.digest:
            yield f"what returns is not version {rollback.version} of this log"
        if not self._genesis.algorithm.masked:
            return
        last_seq, origin = self.head.rolled_back, rollback.origin
        if complaint := rollback_complaint(record, self._id, last_seq, self._operators):
            yield complaint
        if origin is not None and (complaint := self._about_origin(origin.plan)):
            yield complaint
        is_first = origin is None and record.digest == self._genesis.version0
        if not is_first and not (origin and origin_agrees(self._genesis, record.digest, origin)):
            yield f"too few members gave their word for version {rollback.version}, which returns"

    def _about_evaluation(self, found: Evaluation) -> Iterator[str]:
        if self._evaluators is not None and (
            complaint := evaluation_complaint(found, self._id, self._evaluators)
        ):
            yield complaint
        versions, number = self._versions, found.version
        if not 0 <= number < len(versions) or versions[number] != found.digest:
            yield f"what was evaluated is not version {number} of this log"

    def _about_origin(self, plan: Plan) -> str:
        """Return why the plan that a version came of is not of this run, or its members are none.

        A commit's own plan is asked the first by the log's head.
        """
        if complaint := plan_complaint(self._genesis, plan):
            return f"of its round, {complaint}"
        return roster_complaint(plan, self._members)

    def _true_words(self, record: Record) -> set[WorkerId]:
        """Return whose words for the newest commit's version a record holds."""
        if self._newest is None or self._newest.commit is None:
            return set()
        unsigned = word_about(self._id, self._newest, _NOBODY)
        return {*true_words(self._newest.commit.plan, unsigned, record.words or {})}

    def _num_missing(self, said: set[WorkerId]) -> int:
        """Return how many words the newest version lacks, if a round made it."""
        if self._newest is None or self._newest.commit is None:
            return 0
        return max(0, agreement(self._genesis, self._newest.commit.plan) - len(said))
