"""One masked round in memory: real workers' halves, and a coordinator that may do anything.

    Cloud   an honest worker: what `services/worker/agent.py` does, without processes and disks
    Eve     a coordinator that lies, replays, keeps everything, and puts together what it has

Randomness is drawn from a seed, so every attack ends the same way each time it is run.

It is long because the honest side and the lying one have to fit each other message by message.
"""

import datetime
import hashlib
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
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
from common.ids import Digest, RoundId, WorkerId
from common.parties import Admits
from common.secagg import signatures
from common.secagg.keys import MaskSecretKey, pair_seed, self_seed
from common.secagg.labels import SignedPurpose
from common.secagg.masks import Masks, member_masks
from common.secagg.ring import Ring
from common.secagg.shamir import Share, combine, x_coordinate
from common.secagg.tags import Tagger
from common.secagg.transcript import context, mask_key_of
from common.shards import SHARD_BYTES, PayloadLayout, ShardBytes
from common.terms import round_bits
from common.weight import threshold
from coordinator.ports import Secrets
from coordinator.sums.masked_sum import masked_aggregate, sum_masks
from services.trust.authority import Holder, authority_in, init_federation, issue
from services.trust.identity import Identity, Role
from services.trust.pins import pin_workers
from services.worker.trusted import PinnedMembers
from tests.rig.rounds.masked_members import MASKED, drawn
from tests.rig.rounds.small_run import NUMBERS, Run, bytes_of, random_vector, values_of
from worker.rounds.attempt import Attempt, MaskedMember, RevealedShares
from worker.rounds.masked_tier import MaskedTier
from worker.rounds.round import Fate, RefusedError, Rule, WorkerRound
from worker.rounds.trust import Trust
from worker.rounds.update import Sources, measure, shards

RUN = "small"
OPERATOR = "ann"
A, B, C, D, E, F, G, V = (
    WorkerId(w) for w in ("aws", "azure", "civo", "denvr", "exoscale", "fuga", "gcp", "victim")
)


def now() -> datetime.datetime:
    """Return the present: a suite may run for longer than a certificate is made out in advance."""
    return datetime.datetime.now(datetime.UTC)


NOTHING: frozenset[Rule] = frozenset()

Signed = npt.NDArray[np.int64]
"""Ring values as signed integers, int64[length]."""

SharesOf = defaultdict[tuple[RoundId, WorkerId], dict[WorkerId, bytes]]


def refused(rule: Rule) -> pytest.RaisesExc[RefusedError]:
    """The honest worker refuses, by exactly this rule."""
    return pytest.RaisesExc(RefusedError, check=lambda e: e.rule is rule)


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
        init_federation(folder, RUN, [*workers, Holder(Role.OPERATOR, OPERATOR, "ann-inc")])
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


@dataclass
class Cloud:
    """See the module docstring.

    Args:
        run: the chain as this worker was shown it.
        update: what it learned since its base: the planted secret.
        unsafe: rules that it does not look at.
    """

    who: Certified
    run: Run
    update: F32
    admits: Admits
    operators: Admits
    numbers: Numbers = NUMBERS
    trust: Trust = field(default_factory=Trust)
    unsafe: frozenset[Rule] = NOTHING
    sent: dict[RoundId, bytes] = field(default_factory=dict)  # data section before it is masked
    attempt: Attempt | None = None
    encodings: int = 0

    def __post_init__(self) -> None:
        algorithm = self.run.algorithm
        self.member = MaskedMember(
            self.name,
            algorithm,
            self.trust,
            self.admits,
            self.who.sign,
            drawn(self.name),
            self.unsafe,
        )
        self.tier = MaskedTier(
            self.member,
            self.run.genesis,
            lambda: self.who.certificate,
            admitted=self.admits,
            operators=self.operators,
        )
        self.round = WorkerRound(self.name, algorithm.colluding, unsafe=self.unsafe)

    @property
    def name(self) -> WorkerId:
        return self.who.name

    @property
    def base(self) -> tuple[int, Digest]:
        return self.run.version.commits, canonical.digest(self.run.version)

    def offer(self, speed: int = 4) -> Offer:
        version, digest = self.base
        nonce = f"{len(self.sent)}"
        plain = Offer(RUN, self.name, "boot", nonce, version, digest, 1, 1.0, 0, 1, speed, 0)
        self.round.offer = self.tier.sign_offer(plain)
        return self.round.offer

    def planned(
        self, plan: Plan, next_seq: int = 0, *, finite: bool = True
    ) -> tuple[Answer, dict[WorkerId, bytes]]:
        self.round.accept(plan, *self.base, next_seq)
        try:
            self.attempt = self.tier.begin(plan)
        except RefusedError:
            self.round.forget(plan.round)
            raise
        most = self.run.algorithm.max_staleness
        self.round.close(self.numbers, finite=finite, max_staleness=most)
        answer, sealed = self.attempt.answer(self.numbers)
        self.round.answered(answer)
        return answer, sealed

    def named(
        self, plan: Plan, answers: Mapping[WorkerId, Answer], sealed: Mapping[WorkerId, bytes]
    ) -> list[bytes]:
        """Return the upload, shard by shard."""
        assert self.attempt is not None
        assert self.round.name(plan.round, answers), "the same members again"
        self.attempt.named(answers, sealed)
        self.round.expose(answers, self.attempt.kappa)
        return self.upload(plan, answers)

    def upload(self, plan: Plan, answers: Mapping[WorkerId, Answer]) -> list[bytes]:
        assert self.attempt is not None
        terms = self.run.terms(plan, {w: a.numbers for w, a in answers.items()})
        base = self.run.theta()
        work = Sources(values_of(base), values_of(base - self.update))
        lengths = measure(terms, work)
        self.encodings += 1
        key = hashlib.sha256(f"{self.name}{self.encodings}".encode()).digest()[:16]
        kept = np.zeros(self.run.schema.length, np.float32)

        def keep(start: int, values: F32) -> None:
            kept[start : start + len(values)] = values

        plain = shards(terms, self.name, work, lengths, keep, key, 2**20, self.tier.max_clip)
        data = bytearray()

        def noted(plain: Iterator[ShardBytes]) -> Iterator[ShardBytes]:
            for index, shard in enumerate(plain):
                if index < terms.layout.num_data_shards:
                    data.extend(shard)
                yield shard

        out = [bytes(s) for s in self.attempt.protect(terms.layout, noted(plain))]
        self.sent[plan.round] = bytes(data)
        return out

    def survived(self, survivors: Iterable[WorkerId]) -> bytes | None:
        assert self.attempt is not None
        return self.attempt.survived(tuple(sorted(survivors)))

    def reveal(self, listed: Mapping[WorkerId, bytes] | None = None) -> RevealedShares:
        assert self.attempt is not None
        revealed = self.attempt.reveal(listed or {})
        self.round.reveal()
        return revealed

    def ended(self) -> bytes | None:
        assert self.round.stage is not None
        if self.round.stage.revealed:
            return None
        assert self.attempt is not None
        return self.attempt.abandon()

    def recorded(self, record: Record) -> Fate | None:
        fate = self.round.resolve(record)
        if fate is not None:
            self.attempt = None
        return fate


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
        return draft(self.run, next(self.plans), offers, **changes)

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
        uploads = {w: bytes_of(self.spooled(plan, w)) for w in secrets.own}
        content = bytearray()
        side = masked_aggregate(
            terms.layout,
            uploads,
            sum_masks(plan, secrets),
            Tagger(terms.layout, (bytes.fromhex(secrets.context),)),
            terms.scales.energy_cap,
            content.extend,
        )
        file, s = bytes(content), tuple(sorted(secrets.own))
        return Commit(plan, numbers, s, side, canonical.digest_of(file), len(file)), file

    def spooled(self, plan: Plan, worker: WorkerId) -> bytes:
        content = bytearray(self.layout(plan).total_bytes)
        for index, shard in enumerate(self.spool[plan.round, worker]):
            content[index * SHARD_BYTES : index * SHARD_BYTES + len(shard)] = shard
        return bytes(content)

    def record(self, seq: int = 0, **body: object) -> Record:
        version, digest = self.run.version.commits, canonical.digest(self.run.version)
        return Record(seq, digest, 0, 0, version, digest, 0.0, Counters(), **body)  # type: ignore[arg-type]

    def aborted(self, plan: Plan, abandons: Mapping[WorkerId, bytes]) -> Record:
        told = {w: s.hex() for w, s in abandons.items()}
        return self.record(abort=Abort(plan.round, plan.roster, "stopped", "", told))


def draft(run: Run, num: int, offers: Iterable[Offer], **changes: Any) -> Plan:
    """Return the plan of a run's round number `num` on its version, as an honest coordinator's."""
    ordered = tuple(sorted(offers, key=lambda o: o.worker))
    algorithm, version = run.algorithm, run.version
    plan = Plan(
        run=run.genesis.run,
        round=RoundId(f"{num:032x}"),
        tier=algorithm.tier,
        version=version.commits,
        digest=canonical.digest(version),
        fragment=0,
        bits=round_bits(algorithm.codec, version.commits),
        threshold=threshold(len(ordered), algorithm),
        live_speed=sum(o.speed for o in ordered),
        num_live=len(ordered),
        hours=0.0,
        key_timeout_s=1.0,
        upload_timeout_s=1.0,
        offers=ordered,
    )
    return replace(plan, **changes)


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
