"""A coordinator that lies to one worker for a while: it stands between the true one and the stream.

    withholds   files of versions and sums that the worker is told of
    replays     words that were said before, as they were and under other numbers
    invents     other numbers, counters, progress in the records that it passes on
    forges      a version of its own in a commit's place, and goes on from it, with true words
    returns     to an earlier version, with no order or with an old one
    paces       by steps that the genesis does not allow, and by pauses
    forks       gives it a plan of its own

What it tells is chained as a log must be, so that only what the worker checks stands in its way.
When it ends, the stream breaks: the worker hears the truth from then on.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from common import canonical
from common.documents import Attestation, Genesis, Plan, Record, Rollback, RollbackOrder, Version
from common.ids import Digest
from common.log_head import KINDS as RECORD_KINDS
from common.log_head import LogHead
from protos.v1 import session_pb2

KINDS: Final = ("withholds", "replays", "invents", "forges", "returns", "paces", "forks")

_NO_BODY: Final[dict[str, Any]] = dict.fromkeys((*RECORD_KINDS, "words"))

Message = session_pb2.ConnectResponse


@dataclass
class Liar:
    """See the module docstring.

    Args:
        kind: one of KINDS.
        read: a true file, None where it is not kept.
    """

    kind: str
    genesis: Genesis
    rng: random.Random
    read: Callable[[Digest], bytes | None]
    files: dict[Digest, bytes] = field(default_factory=dict)
    words: list[Attestation] = field(default_factory=list)
    orders: list[RollbackOrder] = field(default_factory=list)
    states: list[tuple[int, Digest]] = field(default_factory=list)
    records: dict[int, Record] = field(default_factory=dict)
    tip: LogHead | None = None
    last: Record | None = None

    def heard(self, message: Message) -> None:
        """Remember what is worth saying again; it sees everything from the run's begin on."""
        match message.WhichOneof("message"):
            case "attested":
                self.words.append(canonical.decode(message.attested.attestation, Attestation))
            case "outcome":
                record = canonical.decode(message.outcome.record, Record)
                self.states.append((record.version, record.digest))
                self.records[record.seq] = record
                if record.rollback is not None and record.rollback.order is not None:
                    self.orders.append(record.rollback.order)

    def told(self, message: Message) -> list[Message]:
        """Return what the victim hears instead."""
        match message.WhichOneof("message"):
            case "welcome" if self.tip is not None:
                self.tip = self.last = None  # it begins again where it says that it stands
            case "outcome":
                record = canonical.decode(message.outcome.record, Record)
                return [_outcome(r) for r in self._records(record)]
            case "attested" if self.kind in ("replays", "forges"):
                return [message, *self._said_again()]
            case "pace" if self.kind == "paces":
                steps = self.rng.choice((0, 1, 10**6, message.pace.local_steps))
                paused = self.rng.random() < 0.3
                pace = session_pb2.Pace(local_steps=steps, paused=paused)
                pace.void_offer = message.pace.void_offer
                return [Message(pace=pace)]
            case "plan" if self.kind == "forks":
                plan = canonical.decode(message.plan.plan, Plan)
                own = replace(plan, live_speed=plan.live_speed + 1)
                return [Message(plan=session_pb2.Plan(plan=canonical.encode(own)))]
        return [message]

    def file(self, digest: Digest, kind: str) -> bytes | None:
        """Return a file as the victim gets it."""
        if self.kind == "withholds" and self.rng.random() < 0.7:
            return None
        return self.files.get(digest) or self.read(digest)

    def _records(self, record: Record) -> list[Record]:
        """Return records in a record's place, chained to what the victim was told before."""
        if self.tip is None:
            if not self._is_time(record):
                return [record]
            self.tip = LogHead(record.seq, record.previous, 0, record.digest, 0.0, record.counters)
        told = self._changed(record)
        chained = []
        for lie in told:
            assert self.tip is not None
            seq = self.tip.next_seq
            rolled_back = lie.rolled_back if lie.rollback is None else seq
            lie = replace(lie, seq=seq, previous=self.tip.previous, rolled_back=rolled_back)
            self.tip, self.last = LogHead.at(lie), lie
            chained.append(lie)
        return chained

    def _is_time(self, record: Record) -> bool:
        match self.kind:
            case "forges" | "invents":
                return record.commit is not None
            case "returns":
                return record.seq - 1 in self.records
        return False

    def _changed(self, record: Record) -> list[Record]:
        match self.kind:
            case "forges" if record.commit is not None:
                return [replace(record, digest=self._crafted(record.digest))]
            case "invents":
                counters = record.counters
                lies = (
                    replace(record, version=record.version + self.rng.choice((-1, 1, 7))),
                    replace(record, progress=record.progress / 2 + 0.25),
                    replace(record, counters=replace(counters, member_steps_256=-(10**6))),
                    replace(record, digest=self.genesis.version0),
                )
                return [self.rng.choice(lies)]
            case "returns":
                before = self.last or self.records.get(record.seq - 1)
                if before is None:
                    return [record]
                stood = [(0, self.genesis.version0), *self.states]
                version, digest = self.rng.choice([s for s in stood if s[0] <= before.version])
                order = self.rng.choice((None, *self.orders))
                back = Rollback(version, 0, "eve", order)
                still = replace(before, **_NO_BODY)
                return [replace(still, version=before.version + 1, digest=digest, rollback=back)]
        return [record]

    def _crafted(self, true: Digest) -> Digest:
        """Return a version with other parameters, whose files it has."""
        content = self.read(true)
        if content is None:
            return true
        version = canonical.decode(content, Version)
        segment = self.read(version.theta[0])
        if segment is None:
            return true
        other = bytes(len(segment))
        digest = canonical.digest_of(other)
        crafted = canonical.encode(replace(version, theta=(digest, *version.theta[1:])))
        self.files |= {digest: other, canonical.digest_of(crafted): crafted}
        return canonical.digest_of(crafted)

    def _said_again(self) -> list[Message]:
        """Return old words, as they were and changed."""
        told = []
        for word in self.rng.sample(self.words, min(2, len(self.words))):
            told += [word, replace(word, version=word.version + 1)]
            if self.states:
                told.append(replace(word, digest=self.rng.choice(self.states)[1]))
        return [Message(attested=session_pb2.Attest(attestation=canonical.encode(w))) for w in told]


def _outcome(record: Record) -> Message:
    return Message(outcome=session_pb2.Outcome(record=canonical.encode(record)))
