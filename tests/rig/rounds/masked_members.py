"""Members of masked rounds in memory: real keys, secrets and signatures, all drawn from names.

Nothing here is random, so that a transcript is the same in every run: certificates, nonces, secrets
and masks follow from the names of workers, offers and rounds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from common.documents import (
    Algorithm,
    Attestation,
    Evaluation,
    Offer,
    Plan,
    Record,
    RollbackOrder,
)
from common.ids import Digest, RoundId, WorkerId
from common.parties import Admits
from common.secagg import signatures
from common.secagg.labels import SignedPurpose
from common.secagg.transcript import signed_content
from common.words import word_about
from simulator.drawn import Drawn, certificate, identity_key, party_of
from worker.rounds.attempt import MaskedAttempt, MaskedMember, OfferSecrets
from worker.rounds.trust import Trust

MASKED = Algorithm(tier="masked", min_cohort=3)
NOWHERE = Digest("f" * 64)
admits: Admits = party_of
"""Takes every certificate for its name's."""


def signer(name: str) -> Callable[[SignedPurpose, bytes], bytes]:
    return lambda purpose, content: signatures.sign(identity_key(name), purpose, content)


def member(name: str, algorithm: Algorithm = MASKED, seed: str = "") -> MaskedMember:
    """Return who this worker is in an attempt whose secrets follow from `seed`."""
    trust = Trust(min_cohort=algorithm.min_cohort, max_share=algorithm.max_share)
    draw = Drawn(f"{name}/{seed}")
    return MaskedMember(WorkerId(name), algorithm, trust, admits, signer(name), draw)


def word(name: str, genesis_: Digest, record: Record, **changes: object) -> Attestation:
    """Return a member's word for the version of a commit's record, but for `changes`; signed."""
    unsigned = replace(word_about(genesis_, record, WorkerId(name)), **changes)  # type: ignore[arg-type]
    signature = signatures.sign(identity_key(name), "head", signed_content(unsigned))
    return replace(unsigned, signature=signature.hex())


def order(
    name: str, genesis: Digest, version: int, digest: Digest, num_records: int
) -> RollbackOrder:
    """Return an operator's order to roll back."""
    unsigned = RollbackOrder(genesis, version, digest, num_records, certificate(name))
    signature = signatures.sign(identity_key(name), "rollback", signed_content(unsigned))
    return replace(unsigned, signature=signature.hex())


def measured(
    version: int,
    loss: float = 2.5,
    *,
    genesis: Digest = NOWHERE,
    digest: Digest = NOWHERE,
    by: str = "evaluator",
    accuracy: float = 0.25,
    perplexity: float = 12.0,
    tokens: int = 4096,
) -> Evaluation:
    """Return what an evaluator says of a version, signed."""
    found = (genesis, version, digest, loss, accuracy, perplexity, tokens)
    unsigned = Evaluation(*found, certificate(by))
    signature = signatures.sign(identity_key(by), "evaluation", signed_content(unsigned))
    return replace(unsigned, signature=signature.hex())


@dataclass
class Cloud:
    """One worker's secrets, over all its offers and rounds."""

    name: str
    algorithm: Algorithm = MASKED
    secrets: dict[str, OfferSecrets] = field(default_factory=dict)
    attempts: dict[RoundId, MaskedAttempt] = field(default_factory=dict)

    def sign_offer(self, offer: Offer) -> Offer:
        """Return the offer with the keys that follow from its nonce, signed."""
        made = OfferSecrets.drawn(Drawn(f"{self.name}/{offer.nonce}"))
        self.secrets[offer.nonce] = made
        return made.sign(offer, certificate(self.name), signer(self.name))

    def attempt(self, plan: Plan) -> MaskedAttempt:
        """Return this worker's attempt at a plan; always the same one."""
        if plan.round not in self.attempts:
            (nonce,) = (o.nonce for o in plan.offers if o.worker == self.name)
            who = member(self.name, self.algorithm, plan.round)
            self.attempts[plan.round] = MaskedAttempt(who, plan, self.secrets[nonce])
        return self.attempts[plan.round]


def changed(shares: Mapping[WorkerId, bytes]) -> dict[WorkerId, bytes]:
    """Return shares that are none of these members'."""
    return {w: bytes([content[0] ^ 1]) + content[1:] for w, content in shares.items()}
