"""One masked round in memory: the coordinator's `Round` and the members' halves, nothing faked.

Each member goes as far as `lost` lets it. What the tls tier would have summed its members keep, so
that both can be compared.
"""

import enum
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from common.arrays import F32, ReadBytes
from common.documents import Numbers, Plan, SideValues
from common.ids import SessionId, WorkerId
from common.shards import SHARD_BYTES
from common.terms import Terms
from coordinator.ports import (
    Compute,
    Effect,
    End,
    Members,
    Message,
    OpenSpool,
    Seal,
    Secrets,
    Send,
    Signatures,
    Survivors,
)
from coordinator.round import Round
from coordinator.sums.masked_sum import masked_sum
from tests.rig.rounds.masked_members import Cloud
from tests.rig.rounds.member import Member
from tests.rig.rounds.small_run import NUMBERS, Run, spooled

RESOLVE_TIMEOUT_S = 30.0


class Loss(enum.IntEnum):
    """Before what a member falls silent, in the order of a round."""

    ANSWER = 0
    UPLOAD = 1
    LAST_SHARD = 2
    SIGNATURE = 3
    SHARES = 4
    NEVER = 5


@dataclass
class Played:
    """What came of a round.

    Args:
        members: those that answered.
    """

    round: Round
    members: dict[WorkerId, Member] = field(default_factory=dict)
    u2: tuple[WorkerId, ...] = ()
    spool: dict[WorkerId, list[bytes]] = field(default_factory=dict)
    compute: Compute | None = None
    terms: Terms | None = None

    def plain(self, worker: WorkerId) -> bytes:
        """Return what a member would have sent in the tls tier."""
        assert self.terms is not None
        return spooled(replace(self.terms.layout, masked=False), self.members[worker].plain)

    def kappa(self, worker: WorkerId) -> bytes:
        """Return what a member checks the sum with."""
        attempt = self.members[worker].attempt
        assert attempt is not None
        return attempt.kappa

    def aggregate(self) -> tuple[SideValues, bytes]:
        """Unmask the sum, as the commit process does."""
        assert self.compute is not None
        assert self.terms is not None
        spool = {w: self.spool[w] for w in self.compute.survivors}
        return unmasked(self.terms, self.compute.plan, self.compute.secrets, spool)


def unmasked(
    terms: Terms, plan: Plan, secrets: Secrets, spool: Mapping[WorkerId, list[bytes]]
) -> tuple[SideValues, bytes]:
    """Return the sum of the survivors' uploads, as the commit process makes it."""
    content = bytearray()
    uploads = {w: shards_of(shards) for w, shards in spool.items()}
    side = masked_sum(terms, plan, secrets, uploads, content.extend)
    return side, bytes(content)


def shards_of(contents: list[bytes]) -> ReadBytes:
    """Return what reads a spooled payload, holes and all; never across two shards."""

    def read(offset: int, length: int) -> bytes:
        index, start = divmod(offset, SHARD_BYTES)
        return contents[index][start : start + length]

    return read


def plan_of(run: Run, clouds: Mapping[WorkerId, Cloud], nonce: str = "1") -> Plan:
    """Return a masked plan with everybody's signed offer."""
    offers = (
        clouds[o.worker].sign_offer(replace(o, nonce=nonce, tokens=2000, lr_sum=0.04, steps=20))
        for o in run.plan().offers
    )
    return run.draft(0, offers, tier="masked")


def play(
    run: Run,
    thetas: Mapping[WorkerId, F32],
    lost: Mapping[WorkerId, Loss],
    *,
    plan: Plan | None = None,
    clouds: Mapping[WorkerId, Cloud] | None = None,
    numbers: Mapping[WorkerId, Numbers] | None = None,
    seed: int = 1,
) -> Played:
    """Play one round up to the computing, or to the end of a round that fails.

    Args:
        thetas: everybody's parameters at close.
        lost: before what who falls silent; whoever is missing never does.
    """
    clouds = clouds or {w: Cloud(w, run.algorithm) for w in run.workers}
    plan = plan or plan_of(run, clouds)
    sessions = {w: SessionId(w) for w in plan.roster}
    played = Played(Round(plan, run.algorithm, 1, sessions, RESOLVE_TIMEOUT_S))
    _Play(run, thetas, lost, plan, clouds, numbers or {}, seed, played).go()
    return played


@dataclass
class _Play:
    run: Run
    thetas: Mapping[WorkerId, F32]
    lost: Mapping[WorkerId, Loss]
    plan: Plan
    clouds: Mapping[WorkerId, Cloud]
    numbers: Mapping[WorkerId, Numbers]
    seed: int
    played: Played
    now_s: float = 0.0
    waiting: deque[Effect] = field(default_factory=deque)

    def go(self) -> None:
        round_ = self.played.round
        self.tell(round_.open(self.now_s))
        while round_.outcome is None and self.played.compute is None:
            phase = round_.phase
            effects = round_.advance(self.now_s)
            self.tell(effects)
            if Seal(round_.id) in effects:
                self.tell(round_.seal(tuple(sorted(self.played.spool)), self.now_s))
            elif not effects and round_.phase is phase:  # nobody says anything any more
                assert self.now_s < round_.deadline_s < math.inf, f"{phase} never ends"
                self.now_s = round_.deadline_s

    def tell(self, effects: tuple[Effect, ...]) -> None:
        """Carry effects out, those too that follow from them: each after those before it."""
        self.waiting.extend(effects)
        while self.waiting:
            match effect := self.waiting.popleft():
                case Send(session, message):
                    self.hear(WorkerId(session), message)
                case OpenSpool():
                    self.waiting.extend(self.played.round.open_uploads(self.now_s))
                case Compute():
                    self.played.compute = effect

    def reaches(self, worker: WorkerId, step: Loss) -> bool:
        return self.lost.get(worker, Loss.NEVER) > step

    def hear(self, worker: WorkerId, message: Message) -> None:
        match message:
            case Plan() if self.reaches(worker, Loss.ANSWER):
                self.answer(worker)
            case Members():
                self.upload(worker, message)
            case Survivors() if self.reaches(worker, Loss.SIGNATURE):
                self.sign(worker, message)
            case Signatures(_, signed) if self.reaches(worker, Loss.SHARES):
                self.reveal(worker, signed)
            case End() if worker not in self.lost:
                if (signature := self.played.members[worker].ended()) is not None:
                    self.played.round.abandon(worker, signature)

    def answer(self, worker: WorkerId) -> None:
        seed = 1000 * self.seed + self.run.workers.index(worker)
        member = self.played.members[worker] = Member(
            name=worker,
            run=self.run,
            theta=lambda: self.thetas[worker],
            begin=self.clouds[worker].attempt,
            draw=lambda num_bytes: seed.to_bytes(num_bytes, "big"),
            numbers=self.numbers.get(worker, NUMBERS),
        )
        (member.round.offer,) = (o for o in self.plan.offers if o.worker == worker)
        self.played.round.answer(worker, *member.planned(self.plan, 1))

    def upload(self, worker: WorkerId, members: Members) -> None:
        member, answers = self.played.members[worker], members.answers
        member.exposed(self.plan, answers, members.sealed)
        self.played.u2 = tuple(sorted(answers))
        if not self.reaches(worker, Loss.UPLOAD):
            return
        numbers = {w: a.numbers for w, a in answers.items()}
        self.played.terms = terms = self.played.terms or self.run.terms(self.plan, numbers)
        sent = member.upload(self.plan, answers, terms)
        if self.reaches(worker, Loss.LAST_SHARD):
            self.played.spool[worker] = sent
            self.played.round.upload(worker)

    def sign(self, worker: WorkerId, message: Survivors) -> None:
        signature = self.played.members[worker].survived(message.survivors)
        if signature is not None:
            self.waiting.extend(self.played.round.sign(worker, signature, self.now_s))
        elif self.reaches(worker, Loss.SHARES):
            self.reveal(worker, {})

    def reveal(self, worker: WorkerId, signatures: Mapping[WorkerId, bytes]) -> None:
        revealed = self.played.members[worker].reveal(signatures)
        self.played.round.reveal(worker, revealed.own, revealed.mask)
