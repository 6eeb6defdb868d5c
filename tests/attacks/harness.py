"""One masked round in memory: real workers' halves, and a coordinator that may do anything.

    Cloud   an honest worker: a `Member` with a certificate and a secret to keep
    Eve     a coordinator that lies, replays, keeps everything, and puts together what it has

Randomness is drawn from a seed, so every attack ends the same way each time it is run.
"""

import datetime
import hashlib
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from common import canonical
from common.arrays import F32
from common.documents import (
    Abort,
    Answer,
    Commit,
    Counters,
    Numbers,
    Offer,
    Plan,
    Record,
)
from common.ids import RoundId, WorkerId
from common.parties import Admits
from common.rounds import Rule
from common.secagg import signatures
from common.secagg.keys import MaskSecretKey, pair_seed, self_seed
from common.secagg.labels import SignedPurpose
from common.secagg.masks import Masks, member_masks
from common.secagg.ring import Ring
from common.secagg.shamir import Share, combine, x_coordinate
from common.secagg.transcript import context, mask_key_of
from common.shards import PayloadLayout
from coordinator.ports import Secrets
from coordinator.sums.masked_sum import sum_masks
from services.trust.authority import Holder, authority_in, init_federation, issue
from services.trust.identity import Identity, Role
from services.trust.pins import pin_workers
from services.worker.trusted import PinnedMembers
from simulator.drawn import Drawn
from tests.rig.rounds.masked_members import MASKED
from tests.rig.rounds.masked_round import unmasked
from tests.rig.rounds.member import NOTHING, Member
from tests.rig.rounds.small_run import NUMBERS, Run, random_vector
from worker.rounds.attempt import MaskedMember
from worker.rounds.masked_tier import MaskedTier
from worker.rounds.tier import RevealedShares
from worker.rounds.trust import Trust

RUN = "small"
OPERATOR = "ann"
EVALUATOR = "eva"
A, B, C, D, E, F, G, V = (
    WorkerId(w) for w in ("aws", "azure", "civo", "denvr", "exoscale", "fuga", "gcp", "victim")
)


def now() -> datetime.datetime:
    """Return the present: a suite may run for longer than a certificate is made out in advance."""
    return datetime.datetime.now(datetime.UTC)


Signed = npt.NDArray[np.int64]
"""Ring values as signed integers, int64[length]."""

SharesOf = defaultdict[tuple[RoundId, WorkerId], dict[WorkerId, bytes]]


@dataclass(frozen=True)
class Certified:
    """An identity that some authority signed."""

    name: WorkerId
    certificate: str
    key: signatures.IdentityKey

    def sign(self, purpose: SignedPurpose, content: bytes) -> bytes:
        return signatures.sign(self.key, purpose, content)


def certified(name: WorkerId, certificate: bytes, key: bytes) -> Certified:
    der = x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)
    private = signatures.identity_key(load_pem_private_key(key, password=None))
    return Certified(name, b64encode(der).decode("ascii"), private)


@dataclass(frozen=True)
class Registry:
    """A federation's certificates and pins, as `crosscloud certs` makes them.

    Args:
        pinned: reads the pins; nobody else is a member.
        by_ca: takes whomever the CA signed.
    """

    folder: Path
    pinned: Admits
    by_ca: Admits
    operators: Admits

    @classmethod
    def made(cls, folder: Path) -> "Registry":
        names = (A, B, C, D, E, F, G, V)
        workers = [Holder(Role.WORKER, w, f"{w}-inc") for w in names]
        others = [
            Holder(Role.OPERATOR, OPERATOR, "ann-inc"),
            Holder(Role.EVALUATOR, EVALUATOR, "eva-inc"),
        ]
        init_federation(folder, RUN, [*workers, *others])
        pins = folder / "pins.yaml"
        pin_workers(pins, [folder / f"{w}.pem" for w in names])
        pinned, by_ca = (PinnedMembers(RUN, folder / "ca.pem", p, now) for p in (pins, None))
        operators = PinnedMembers(RUN, folder / "ca.pem", None, now, Role.OPERATOR)
        return cls(folder, pinned, by_ca, operators)

    def of(self, name: WorkerId) -> Certified:
        pem, key = (self.folder / f"{name}.{kind}" for kind in ("pem", "key"))
        return certified(name, pem.read_bytes(), key.read_bytes())

    def invent(self, name: str, organisation: str) -> Certified:
        """Return a member that whoever holds the CA's key makes up."""
        authority = authority_in(self.folder, RUN, now())
        assert authority is not None
        identity = Identity(RUN, Role.WORKER, organisation, name)
        day = datetime.timedelta(days=1)
        return certified(WorkerId(name), *issue(authority, identity, (), now() - day, now() + day))


class Cloud(Member):
    """See the module docstring.

    Args:
        update: what it learned since its base: the planted secret.
    """

    def __init__(
        self,
        who: Certified,
        run: Run,
        update: F32,
        admits: Admits,
        operators: Admits,
        numbers: Numbers = NUMBERS,
        trust: Trust | None = None,
        unsafe: frozenset[Rule] = NOTHING,
    ) -> None:
        self.who, self.update, draw = who, update, Drawn(who.name)
        self.trust = trust or Trust()
        member = MaskedMember(who.name, run.algorithm, self.trust, admits, who.sign, draw, unsafe)
        self.tier = MaskedTier(
            member, run.genesis, lambda: who.certificate, admitted=admits, operators=operators
        )
        super().__init__(
            name=who.name,
            run=run,
            theta=lambda: run.theta() - self.update,
            begin=self.tier.begin,
            draw=draw,
            numbers=numbers,
            own_clip=self.tier.max_clip,
            unsafe=unsafe,
        )

    def offer(self, speed: int = 4) -> Offer:
        """Return a new offer, signed."""
        nonce = f"{len(self.sent)}"
        plain = Offer(RUN, self.name, "boot", nonce, *self.run.head, 1, 1.0, 0, 1, speed, 0)
        self.round.offer = self.tier.sign_offer(plain)
        return self.round.offer


@dataclass
class Answers:
    """What members answered a plan, as Eve may relay it: changed, or in part."""

    answers: dict[WorkerId, Answer]
    sealed: dict[WorkerId, dict[WorkerId, bytes]]

    def sealed_for(self, worker: WorkerId) -> dict[WorkerId, bytes]:
        return {w: s[worker] for w, s in self.sealed.items() if worker in s}

    def only(self, *workers: WorkerId) -> "Answers":
        chosen = {w: self.answers[w] for w in workers}
        return Answers(chosen, {w: self.sealed[w] for w in workers})


@dataclass
class Eve:
    """See the module docstring. It stands on the true chain, `run`.

    Args:
        spool: each upload, shard by shard.
        own: shares of b that it saw, by round and whose secret it is of, then by who revealed it.
        mask: of mask keys.
    """

    run: Run
    plans: Iterator[int] = field(default_factory=lambda: count(1))
    spool: dict[tuple[RoundId, WorkerId], list[bytes]] = field(default_factory=dict)
    own: SharesOf = field(default_factory=lambda: defaultdict(dict))
    mask: SharesOf = field(default_factory=lambda: defaultdict(dict))

    def plan(self, *offers: Offer, **changes: object) -> Plan:
        return self.run.draft(next(self.plans), offers, **changes)

    def answers(self, plan: Plan, *clouds: Cloud) -> Answers:
        """Let clouds answer a plan."""
        told = {c.name: c.planned(plan) for c in clouds}
        return Answers({w: a for w, (a, _) in told.items()}, {w: s for w, (_, s) in told.items()})

    def collect(self, plan: Plan, u2: Answers, *clouds: Cloud) -> None:
        """Name U2 to clouds; keep what they send."""
        for c in clouds:
            self.spool[plan.round, c.name] = c.named(plan, u2.answers, u2.sealed_for(c.name))

    def ask(
        self,
        plan: Plan,
        survivors: Iterable[WorkerId],
        *clouds: Cloud,
        lists: Mapping[WorkerId, bytes] | None = None,
    ) -> None:
        """Name survivors to clouds, relay their signatures, have them reveal."""
        named = tuple(survivors)
        signed = {c.name: s for c in clouds if (s := c.survived(named)) is not None}
        for c in clouds:
            self.learn(plan, c.name, c.reveal(signed if lists is None else lists))

    def learn(self, plan: Plan, by: WorkerId, revealed: RevealedShares) -> None:
        for known, given in ((self.own, revealed.own), (self.mask, revealed.mask)):
            for of, share in given.items():
                known[plan.round, of][by] = share

    def collude(self, plan: Plan, *clouds: Cloud) -> None:
        """Take what colluders were sent: shares of both kinds."""
        for c in clouds:
            assert c.attempt is not None
            for of, shares in c.attempt._shares.items():
                self.own[plan.round, of][c.name] = shares.of_self.to_bytes()
                self.mask[plan.round, of][c.name] = shares.of_mask_key.to_bytes()

    def put_together(self, plan: Plan, known: SharesOf, of: WorkerId) -> bytes:
        """Return a member's secret.

        Raises:
            BadShareError: there are not enough shares of it.
        """
        shares = [
            Share.from_bytes(x_coordinate(by, plan.roster), share)
            for by, share in sorted(known[plan.round, of].items())
        ]
        return combine(shares, plan.threshold)

    def secrets(self, plan: Plan, u2: Answers, survivors: Iterable[WorkerId]) -> Secrets:
        """Return what takes the masks off a sum.

        Raises:
            BadShareError: there are not enough shares of it.
        """
        members = sorted(survivors)
        lost = sorted(set(u2.answers) - set(members))
        return Secrets(
            context=context(plan, u2.answers).hex(),
            own={w: self.put_together(plan, self.own, w).hex() for w in members},
            lost={w: self.put_together(plan, self.mask, w).hex() for w in lost},
        )

    def sum_of(self, plan: Plan, u2: Answers, survivors: Iterable[WorkerId]) -> Signed:
        """Return the sum of some members' values, unmasked.

        Raises:
            BadShareError: there are not enough shares to do so.
        """
        secrets = self.secrets(plan, u2, survivors)
        return self._added(plan, secrets.own, sum_masks(plan, secrets))

    def value_of(
        self, plan: Plan, u2: Answers, victim: WorkerId, own: bytes, mask: bytes
    ) -> Signed:
        """Return one member's values, given both of its secrets."""
        ctx, key = context(plan, u2.answers), MaskSecretKey(mask)
        seeds = {
            w: pair_seed(key, mask_key_of(plan, w), ctx, victim, w).to_bytes()
            for w in u2.answers
            if w != victim
        }
        seed = self_seed(own, ctx, victim).to_bytes()
        return self._added(plan, [victim], member_masks(Ring(plan.bits), victim, seed, seeds))

    def _added(self, plan: Plan, workers: Iterable[WorkerId], masks: Masks) -> Signed:
        layout, ring = self.layout(plan), Ring(plan.bits)
        found = bytearray()
        for index in range(layout.num_data_shards):
            offset, length = layout.shard(index)
            words = ring.empty_sum(length)
            for w in workers:
                ring.add_received(words, self.spool[plan.round, w][index])
            masks.subtract(words, offset)
            found += ring.payload(words)
        return signed(bytes(found))

    def layout(self, plan: Plan) -> PayloadLayout:
        return PayloadLayout(self.run.schema.length, plan.bits, masked=True)

    def commit(
        self, plan: Plan, u2: Answers, survivors: Iterable[WorkerId]
    ) -> tuple[Commit, bytes]:
        """Sum as an honest coordinator does; return the commit and its aggregate."""
        numbers = {w: a.numbers for w, a in u2.answers.items()}
        terms, secrets = self.run.terms(plan, numbers), self.secrets(plan, u2, survivors)
        spool = {w: self.spool[plan.round, w] for w in secrets.own}
        side, content = unmasked(terms, plan, secrets, spool)
        return self.run.commit_of(plan, numbers, tuple(sorted(spool)), side, content), content

    def record(self, seq: int = 0, **body: object) -> Record:
        version, digest = self.run.version.commits, canonical.digest(self.run.version)
        return Record(seq, digest, 0, 0, version, digest, 0.0, Counters(), **body)  # type: ignore[arg-type]

    def aborted(self, plan: Plan, abandons: Mapping[WorkerId, bytes]) -> Record:
        told = {w: s.hex() for w, s in abandons.items()}
        return self.record(abort=Abort(plan.round, plan.roster, "stopped", "", told))


@dataclass
class Table:
    """Clouds around one coordinator. Each attack sets it up anew."""

    registry: Registry
    run: Run = field(default_factory=lambda: Run(MASKED))

    def __post_init__(self) -> None:
        self.eve = Eve(self.run)

    def cloud(self, name: WorkerId, **more: object) -> Cloud:
        return self.seat(self.registry.of(name), **more)

    def seat(self, who: Certified, **more: object) -> Cloud:
        """Return a worker whose update nobody but its cloud knows."""
        seed = int.from_bytes(hashlib.sha256(who.name.encode()).digest()[:4], "big")
        given = {
            "run": self.run,
            "update": random_vector(self.run.schema, seed, 0.01),
            "admits": self.registry.pinned,
            "operators": self.registry.operators,
            **more,
        }
        return Cloud(who, **given)  # type: ignore[arg-type]


def signed(content: bytes) -> Signed:
    """Return the values of a data section of 16 bits."""
    return np.frombuffer(content, "<i2").astype(np.int64)


def planted(cloud: Cloud, plan: Plan) -> Signed:
    """Return what a cloud put under its masks: the integers that no one else may ever see."""
    return signed(cloud.sent[plan.round])
