"""One masked round in memory: the coordinator's `Round` and the members' halves, nothing faked.

Each member goes as far as `lost` lets it. What the tls tier would have summed is kept beside, so
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
from common.secagg.tags import Tagger
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
    Send,
    Signatures,
    Survivors,
)
from coordinator.round import Round
from coordinator.sums.masked_sum import masked_aggregate, sum_masks
from tests.rig.rounds.masked_members import Cloud
from tests.rig.rounds.small_run import NUMBERS, Run
from worker.rounds.attempt import Attempt
from worker.rounds.round import WorkerRound

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
        plain: of each member that got so far, the payload as the tls tier would send it.
        residuals: likewise, the next residual.
        kappas: likewise, what it checks the sum with.
    """

    round: Round
    u2: tuple[WorkerId, ...] = ()
    plain: dict[WorkerId, bytes] = field(default_factory=dict)
    spool: dict[WorkerId, list[bytes]] = field(default_factory=dict)
    residuals: dict[WorkerId, F32] = field(default_factory=dict)
    kappas: dict[WorkerId, bytes] = field(default_factory=dict)
    workers: dict[WorkerId, WorkerRound] = field(default_factory=dict)
    compute: Compute | None = None
    terms: Terms | None = None

    def aggregate(self) -> tuple[SideValues, bytes]:
        """Unmask the sum, as the commit process does."""
        assert self.compute is not None
        assert self.compute.secrets is not None
        assert self.terms is not None
        content = bytearray()
        context = bytes.fromhex(self.compute.secrets.context)
        side = masked_aggregate(
            self.terms.layout,
            {w: shards_of(self.spool[w]) for w in self.compute.survivors},
            sum_masks(self.compute.plan, self.compute.secrets),
            Tagger(self.terms.layout, (context,)),
            self.terms.scales.energy_cap,
            content.extend,
        )
        return side, bytes(content)


def shards_of(contents: list[bytes]) -> ReadBytes:
    """Return what reads a spooled payload, holes and all; never across two shards."""

    def read(offset: int, length: int) -> bytes:
        index, start = divmod(offset, SHARD_BYTES)
        return contents[index][start : start + length]

    return read


def plan_of(run: Run, clouds: Mapping[WorkerId, Cloud], nonce: str = "1") -> Plan:
    """Return a masked plan with everybody's signed offer."""
    plan = run.plan()
    offers = tuple(
        clouds[o.worker].sign_offer(replace(o, nonce=nonce, tokens=2000, lr_sum=0.04, steps=20))
        for o in plan.offers
    )
    return replace(plan, tier="masked", offers=offers)


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
    attempts: dict[WorkerId, Attempt] = field(default_factory=dict)
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
            case End() if worker not in self.lost and not self.revealed(worker):
                signature = self.attempts[worker].abandon()
                self.played.round.abandon(worker, signature)

    def revealed(self, worker: WorkerId) -> bool:
        stage = self.played.workers[worker].stage
        return stage is not None and stage.revealed

    def answer(self, worker: WorkerId) -> None:
        half = self.played.workers[worker] = WorkerRound(worker, self.run.algorithm.colluding)
        (half.offer,) = (o for o in self.plan.offers if o.worker == worker)
        half.accept(self.plan, self.plan.version, self.plan.digest, 1)
        attempt = self.attempts[worker] = self.clouds[worker].attempt(self.plan)
        numbers = self.numbers.get(worker, NUMBERS)
        half.close(numbers, finite=True, max_staleness=self.run.algorithm.max_staleness)
        answer, sealed = attempt.answer(numbers)
        half.answered(answer)
        self.played.round.answer(worker, answer, sealed)

    def upload(self, worker: WorkerId, members: Members) -> None:
        half, attempt = self.played.workers[worker], self.attempts[worker]
        assert half.name(members.round, members.answers)
        attempt.named(members.answers, members.sealed)
        half.expose(members.answers, attempt.kappa)
        self.played.u2 = tuple(sorted(members.answers))
        self.played.kappas[worker] = attempt.kappa
        if not self.reaches(worker, Loss.UPLOAD):
            return
        numbers = {w: a.numbers for w, a in members.answers.items()}
        self.played.terms = terms = self.played.terms or self.run.terms(self.plan, numbers)
        sent = [bytes(s) for s in attempt.protect(terms.layout, self.content(terms, worker))]
        if self.reaches(worker, Loss.LAST_SHARD):
            self.played.spool[worker] = sent
            self.played.round.upload(worker)

    def content(self, terms: Terms, worker: WorkerId) -> list[bytes]:
        """Return a member's shards as the tls tier sends them."""
        plain = replace(terms, layout=replace(terms.layout, masked=False))
        seed = 1000 * self.seed + self.run.workers.index(worker)
        payload, residual = self.run.payload(plain, worker, self.thetas[worker], seed)
        self.played.plain[worker], self.played.residuals[worker] = payload, residual
        spans = map(plain.layout.shard, range(plain.layout.num_shards))
        return [payload[offset : offset + length] for offset, length in spans]

    def sign(self, worker: WorkerId, message: Survivors) -> None:
        signature = self.attempts[worker].survived(message.survivors)
        if signature is not None:
            self.waiting.extend(self.played.round.sign(worker, signature, self.now_s))
        elif self.reaches(worker, Loss.SHARES):
            self.reveal(worker, {})

    def reveal(self, worker: WorkerId, signatures: Mapping[WorkerId, bytes]) -> None:
        revealed = self.attempts[worker].reveal(signatures)
        self.played.workers[worker].reveal()
        self.played.round.reveal(worker, revealed.own, revealed.mask)
