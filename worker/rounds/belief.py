"""Decides which of the records that it holds a worker follows next, and onto what, by words.

    records held --words--> the last one that is believed --> all up to it are followed, together
         |                                                     (`Follow`: stand on the last one)
         '--a commit of one's own round, right here--> checked first, for one's own word (`Verify`)

A version that a round made is believed on the words of `a` members of its plan (`common/words.py`),
one's own among them where one could check the sum; an earlier one that returns, on an operator's
order for that very state, if it was believed before or the record shows the words it was believed
on. Nothing else is ever stood on: not what lies on the way, nor version 0 once a worker has begun.

It reads no clock or file. Who may be a member is asked of `Admits`, at the time of the round.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from common import canonical
from common.documents import Attestation, Genesis, Plan, Record
from common.ids import Digest, WorkerId
from common.parties import Admits
from common.words import agreement, is_word, origin_agrees, true_words, word_about
from worker.rounds.trust import roster_complaint

_NOBODY: Final = WorkerId("")


class Belief:
    """What members said of the versions of the commits that this worker knows of.

    Args:
        genesis: the run.
        admits: whose certificate it is, whether or not it has ended since.
        is_sure: whether words are counted at all: only tests, that show what it is for, say no.
    """

    def __init__(self, genesis: Genesis, admits: Admits, *, is_sure: bool = True) -> None:
        self._genesis = genesis
        self._id = canonical.digest(genesis)
        self._admits = admits
        self._is_sure = is_sure
        self._commits: dict[Digest, Record] = {}  # by what is said of it; the newest is last
        self._said: dict[Digest, dict[WorkerId, str]] = {}

    def read(self, record: Record) -> None:
        """Take a record's own words, and its commit, of which can be spoken from now on."""
        if record.words and self._commits:
            what, about = next(reversed(self._commits.items()))
            unsigned = word_about(self._id, about, _NOBODY)
            self._said[what] |= true_words(_plan(about), unsigned, record.words)
        if record.commit is not None:
            what = self._what(record)
            self._commits.pop(what, None)
            self._commits[what] = record
            self._said.setdefault(what, {})

    def heard(self, word: Attestation) -> None:
        """Take a word that was relayed; what is no member's word for a known commit is nothing."""
        what = canonical.digest(replace(word, worker=_NOBODY, signature=None))
        record = self._commits.get(what)
        if record is not None and is_word(_plan(record), word):
            assert word.signature is not None
            self._said[what][word.worker] = word.signature

    def believes(self, record: Record) -> bool:
        """Return whether enough members say what a commit's record says."""
        if not self._is_sure:
            return True
        plan, said = _plan(record), self._said.get(self._what(record), {})
        return len(said) >= agreement(self._genesis, plan) and not self._complaint(plan)

    def believes_origin(self, record: Record) -> bool:
        """Return whether a roll-back's record shows that its state was believed once."""
        assert record.rollback is not None
        if not self._is_sure:
            return True
        origin = record.rollback.origin
        if origin is None:
            return record.rollback.version == 0 and record.digest == self._genesis.version0
        agrees = origin_agrees(self._genesis, record.digest, origin)
        return agrees and not self._complaint(origin.plan)

    def newest(self) -> tuple[Attestation, ...]:
        """Return the words for the newest commit's version: any who lost them may need them."""
        if not self._commits:
            return ()
        what, record = next(reversed(self._commits.items()))
        return tuple(
            replace(word_about(self._id, record, worker), signature=signature)
            for worker, signature in sorted(self._said[what].items())
        )

    def unread(self, records: Iterable[Record]) -> None:
        """Records were read and not followed: a later session may bring others in their place.

        What was said of them stays: it may be what somebody else has lost.
        """
        for record in records:
            if record.commit is not None:
                self._commits.pop(self._what(record), None)

    def forget(self, records: Sequence[Record]) -> None:
        """Records were followed: all their commits but the newest are history."""
        for record in records:
            if record.commit is not None:
                what = self._what(record)
                if what != next(reversed(self._commits), None):
                    self._commits.pop(what, None)
        self._said = {what: self._said[what] for what in self._commits}

    def _what(self, record: Record) -> Digest:
        """Return the digest of what members say of a commit's record, whoever says it."""
        return canonical.digest(word_about(self._id, record, _NOBODY))

    def complaint(self, record: Record) -> str:
        """Return why the members of a commit's plan are none; "" if they are, or nobody asked."""
        return "" if record.commit is None else self._complaint(record.commit.plan)

    def _complaint(self, plan: Plan) -> str:
        """Return why a plan's members are none; asked anew each time, since pins change."""
        return roster_complaint(plan, self._admits)


def _plan(record: Record) -> Plan:
    assert record.commit is not None, "members speak of commits"
    return record.commit.plan


@dataclass(frozen=True, slots=True)
class Follow:
    """Follow the first `num` records; the last one's version is believed."""

    num: int


@dataclass(frozen=True, slots=True)
class Verify:
    """Check the first record's sum and step, and give one's word for it."""


@dataclass(frozen=True, slots=True)
class BeginAt:
    """A newcomer begins at the record of this index."""

    index: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing that is held is believed."""


Move = Follow | Verify | BeginAt | Wait


def next_move(
    held: Sequence[Record],
    is_believed: Callable[[Record], bool],
    *,
    begun: bool,
    can_verify: bool,
) -> Move:
    """Return what to do with the records that are held.

    Args:
        held: the next records of the log, in order.
        is_believed: says of a record whether the version that it makes, brings back, or for a
            newcomer names, is believed.
        begun: whether this worker stands on a version.
        can_verify: whether the first one is a commit of its own round whose sum it can check, and
            did not yet.
    """
    if not begun:
        start = next((i for i, record in enumerate(held) if is_believed(record)), None)
        return Wait() if start is None else BeginAt(start)
    moving = [i for i, r in enumerate(held) if r.commit is not None or r.rollback is not None]
    last = next((i for i in reversed(moving) if is_believed(held[i])), None)
    if can_verify and not last:
        return Verify()
    if last is not None:
        return Follow(last + 1)
    num_still = moving[0] if moving else len(held)
    return Follow(num_still) if num_still else Wait()
