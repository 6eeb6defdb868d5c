"""A worker without a learner that speaks the masked protocol, and falls silent where it is told to.

Its certificate, its pins, its masks and its refusals are those of a real worker; its update is made
up. What it would have sent unmasked is kept, so that a test can add it up.
"""

import datetime
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from typing_extensions import override

from common import canonical
from common.arrays import I32
from common.documents import Answer, Numbers, Offer, Plan, Record, SideValues
from common.ids import RoundId, WorkerId
from common.packing import pack
from common.scales import levels
from common.secagg.transcript import abandon_content, signed_content
from common.shards import pack_side_values
from common.words import word_about
from protos.v1 import session_pb2
from services.config.settings import TlsSettings
from services.trust.signing import Signer
from services.worker.trusted import PinnedMembers
from tests.rig.workers.light_worker import LightWorker
from worker.rounds.attempt import MaskedAttempt, MaskedMember, OfferSecrets
from worker.rounds.round import Fate, WorkerRound
from worker.rounds.trust import Trust


@dataclass
class MaskedLightWorker(LightWorker):
    """See the module docstring.

    Args:
        certs: the federation's folder of certificates and pins.
        loss_2_20: that it sends, masked.
        values: what it sent in each round, signed ring values, int32[length].
        fates: what became of its work in each round that it uploaded to.
    """

    certs: Path = Path()
    loss_2_20: int = 2**20
    values: dict[RoundId, I32] = field(default_factory=dict)
    fates: dict[RoundId, Fate] = field(default_factory=dict)
    attempt: MaskedAttempt | None = None

    @override
    def __enter__(self) -> Self:
        super().__enter__()
        tls = TlsSettings(
            ca=self.certs / "ca.pem",
            certificate=self.certs / f"{self.name}.pem",
            key=self.certs / f"{self.name}.key",
        )

        def now() -> datetime.datetime:
            return datetime.datetime.now(datetime.UTC)

        algorithm = self.genesis.algorithm
        own = Signer(tls)
        self._certificate = own.certificate()
        self.member = MaskedMember(
            name=WorkerId(self.name),
            algorithm=algorithm,
            trust=Trust(min_cohort=algorithm.min_cohort, max_staleness=algorithm.max_staleness),
            admits=PinnedMembers(self.genesis.run, tls.ca, self.certs / "pins.yaml", now),
            sign=own.sign,
            random=secrets.token_bytes,
        )
        self.half = WorkerRound(WorkerId(self.name), algorithm.colluding)
        return self

    @override
    def offer(self, version: int = 0, digest: str = "", **changes: Any) -> Offer:
        """Send an offer with fresh keys."""
        self._secrets = OfferSecrets.drawn(secrets.token_bytes)
        changes = {"nonce": secrets.token_hex(16), **changes}
        unsigned = self.unsigned_offer(version, digest, **changes)
        offer = self._secrets.sign(unsigned, self._certificate, self.member.sign)
        self.half.offer = offer
        self.send(offer=session_pb2.SubmitOffer(offer=canonical.encode(offer)))
        return offer

    @override
    def receive_plan(self) -> Plan:
        """Wait for the plan, and accept it."""
        plan = super().receive_plan()
        self.accept(plan)
        return plan

    def accept(self, plan: Plan) -> None:
        """Begin a round."""
        self.half.accept(plan, plan.version, plan.digest, 1)
        self.attempt = MaskedAttempt(self.member, plan, self._secrets)

    @override
    def answer(self, plan: Plan, numbers: Numbers | None = None) -> None:
        """Answer the plan."""
        assert self.attempt is not None
        answer, sealed = self.attempt.answer(numbers or self.numbers())
        self.half.answered(answer)
        submit = session_pb2.SubmitAnswer(
            round_id=bytes.fromhex(plan.round),
            answer=canonical.encode(answer),
            sealed={str(w): content for w, content in sealed.items()},
        )
        self.send(answer=submit)

    def be_named(self, plan: Plan) -> None:
        """Wait for U2."""
        self.learn_members(plan, self.receive("members"))

    def learn_members(self, plan: Plan, members: session_pb2.Members) -> None:
        """Take U2."""
        assert self.attempt is not None
        answers = {WorkerId(w): canonical.decode(a, Answer) for w, a in members.answers.items()}
        assert self.half.name(RoundId(plan.round), answers)
        self.attempt.named(answers, {WorkerId(w): c for w, c in members.sealed.items()})
        self.half.expose(answers, self.attempt.kappa)

    def upload_made_up(self, plan: Plan, *, all_of_it: bool = True) -> None:
        """Upload made-up values; the last shard only if all of it."""
        assert self.attempt is not None
        layout = self.layout(plan)
        most = levels(plan.bits, len(plan.offers))
        draw = np.random.default_rng(secrets.randbits(32))
        values = draw.integers(-most, most, layout.length, np.int32, endpoint=True)
        side = pack_side_values(
            SideValues(65535, self.loss_2_20, 0), np.full(layout.num_blocks, 256, np.uint32)
        )
        plain = pack(values, plan.bits)
        spans = map(layout.shard, range(layout.num_data_shards))
        shards = [*(plain[a : a + n] for a, n in spans), side]
        sent = [bytes(s) for s in self.attempt.protect(layout, shards)]
        assert len(sent) == layout.num_shards
        self.values[RoundId(plan.round)] = values
        raw_id = bytes.fromhex(plan.round)
        some = sent if all_of_it else sent[:-1]
        response = self.push(*((raw_id, i, content) for i, content in enumerate(some)))
        assert len(response.missing) == len(sent) - len(some)

    def sign_list(self) -> bool:
        """Wait for S; sign it, if it is to be signed. Return whether it was."""
        return self.sign(self.receive("survivors"))

    def sign(self, told: session_pb2.Survivors) -> bool:
        """Sign S, if it is to be signed. Return whether it was."""
        assert self.attempt is not None
        signature = self.attempt.survived(tuple(WorkerId(w) for w in told.survivors))
        if signature is None:
            return False
        submit = session_pb2.SubmitSignature(round_id=told.round_id, signature=signature)
        self.send(signature=submit)
        return True

    def reveal(self, plan: Plan, *, signed: bool) -> None:
        """Reveal the shares, after the others' signatures if there have to be any."""
        self.tell_shares(plan, self.receive("signatures") if signed else session_pb2.Signatures())

    def tell_shares(self, plan: Plan, told: session_pb2.Signatures) -> None:
        """Reveal the shares."""
        assert self.attempt is not None
        revealed = self.attempt.reveal({WorkerId(w): s for w, s in told.signatures.items()})
        self.half.reveal()
        shares = {str(w): session_pb2.Share(own=s) for w, s in revealed.own.items()}
        shares |= {str(w): session_pb2.Share(mask=s) for w, s in revealed.mask.items()}
        raw_id = bytes.fromhex(plan.round)
        self.send(shares=session_pb2.SubmitShares(round_id=raw_id, shares=shares))

    def abandon(self, plan: Plan) -> None:
        """Wait for the end, and abandon the round."""
        end = self.receive("end")
        assert end.round_id.hex() == plan.round
        signature = self.member.sign("abandon", abandon_content(plan))
        self.send(abandon=session_pb2.Abandon(round_id=end.round_id, signature=signature))

    def vouch(self, record: Record) -> None:
        """Give its word for what a commit made."""
        genesis = canonical.digest(self.genesis)
        unsigned = word_about(genesis, record, WorkerId(self.name))
        signature = self.member.sign("head", signed_content(unsigned))
        word = replace(unsigned, signature=signature.hex())
        self.send(attest=session_pb2.Attest(attestation=canonical.encode(word)))

    def resolve(self, record: Record) -> None:
        """Settle this worker's part in the round that a record ends."""
        if self.half.stage is not None:
            round_id, exposed = RoundId(self.half.stage.plan.round), self.half.stage.exposed
            fate = self.half.resolve(record)
            assert fate is not None
            if exposed:
                self.fates[round_id] = fate
