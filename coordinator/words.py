"""Keeps members' words for the newest version, passes them on, puts them into the next record.

Nobody can make one up, and the coordinator counts them only to know how it stands: no cohort closes
on a version that too few vouch for, since nobody would stand on it. Words that a restart lost come
again from whoever stands on them.
"""

from collections.abc import Iterable
from dataclasses import replace

from common import canonical
from common.documents import Attestation, Commit, Genesis, Origin, Record
from common.errors import BadSignatureError
from common.ids import WorkerId
from common.words import agreement, is_word, run_state, word_about
from coordinator.head import RunHead


class HeadWords:
    """See the module docstring. Only a head that a round made has words."""

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis
        self._id = canonical.digest(genesis)
        self._about: Record | None = None
        self._heard: dict[WorkerId, str] = {}

    def add(self, word: Attestation, head: RunHead) -> bool:
        """Keep a word for the head; return whether it is a new one.

        A word for another version is history, or of another log: nothing follows from it.

        Raises:
            BadSignatureError: it is not the word of whom it names.
        """
        if head.made_by is None:
            return False
        commit = _commit_of(head.made_by)
        heard = self._of(head)
        is_known = word.worker in heard or word.worker in head.words
        if is_known or word.worker not in commit.plan.roster:
            return False
        expected = word_about(self._id, head.made_by, word.worker)
        if replace(word, signature=None) != expected:
            return False
        if not is_word(commit.plan, word):
            raise BadSignatureError(f"{word.worker}: the signature of its word is wrong")
        assert word.signature is not None
        heard[word.worker] = word.signature
        return True

    def all(self, head: RunHead) -> tuple[Attestation, ...]:
        """Return the words for the head."""
        if head.made_by is None:
            return ()
        said = {**self._of(head), **head.words}
        return tuple(
            replace(word_about(self._id, head.made_by, worker), signature=signature)
            for worker, signature in sorted(said.items())
        )

    def unrecorded(self, head: RunHead) -> dict[WorkerId, str] | None:
        """Return those that are in no record yet; None where there are none."""
        new = {w: s for w, s in self._of(head).items() if w not in head.words}
        return dict(sorted(new.items())) or None

    def needed(self, head: RunHead) -> int:
        """Return how many words are missing until the head is believed."""
        if head.made_by is None:
            return 0
        enough = agreement(self._genesis, _commit_of(head.made_by).plan)
        return max(0, enough - len(self.all(head)))

    def missing(self, head: RunHead) -> tuple[WorkerId, ...]:
        """Return whose update is in the head, and who has said nothing: they can check it."""
        if head.made_by is None:
            return ()
        said = {word.worker for word in self.all(head)}
        return tuple(w for w in _commit_of(head.made_by).survivors if w not in said)

    def _of(self, head: RunHead) -> dict[WorkerId, str]:
        if self._about is not head.made_by:
            self._about, self._heard = head.made_by, {}
        return self._heard


def origin_of(records: Iterable[Record]) -> Origin | None:
    """Return which round made a version, with the words for it; None for version 0.

    Args:
        records: of the log, from the one that made the version, or brought it back, on.
    """
    made: Record | None = None
    words: dict[WorkerId, str] = {}
    for record in records:
        if made is None:
            if record.rollback is not None:
                return record.rollback.origin
            if record.commit is None:
                return None
            made = record
            continue
        words |= record.words or {}
        if record.commit is not None or record.rollback is not None:
            break
    if made is None:
        return None
    said = dict(sorted(words.items()))
    return Origin(_commit_of(made).plan, made.version, run_state(made), said)


def _commit_of(record: Record) -> Commit:
    assert record.commit is not None, "a head is made by a commit"
    return record.commit
