"""One attempt at a masked round: its secrets, and what this member says and refuses in it.

    Plan -> answer, sealed shares -> Members -> masks -> [Survivors -> signature ->] shares revealed
                                                     '-> abandoned: nothing is ever revealed

Messages in, messages out; randomness, signing and the question who is a member are arguments. The
secrets live here and nowhere else: they are written to no disk, and end with the attempt. A message
that is to be sent again is sent as it was. The rules' numbers are those of docs/protocol.md;
`worker/rounds/round.py` knows the others, and what becomes of the work.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from common.documents import (
    Algorithm,
    Answer,
    Commitments,
    Numbers,
    Offer,
    OfferKeys,
    Plan,
)
from common.errors import BadKeyError, BadNumbersError, BadShareError
from common.ids import Digest, WorkerId
from common.parties import Admits
from common.rounds import Rule
from common.secagg import keys as derived
from common.secagg.commitments import commit, matches
from common.secagg.keys import EncSecretKey, MaskSecretKey, RandomBytes
from common.secagg.labels import HASH_BYTES, Context, SignedPurpose
from common.secagg.masks import Masks, member_masks
from common.secagg.ring import Ring
from common.secagg.sealing import SealedShares, seal, unseal
from common.secagg.shamir import split, x_coordinate
from common.secagg.tags import Pads, Tagger
from common.secagg.transcript import (
    abandon_content,
    context,
    enc_key_of,
    identity_of,
    is_signed,
    list_content,
    mask_key_of,
    plan_hash,
    signed_content,
)
from common.shards import PayloadLayout, ShardBytes
from worker.rounds.masked_shards import masked_shards
from worker.rounds.round import RefusedError
from worker.rounds.tier import RevealedShares
from worker.rounds.trust import Trust, cohort_complaint, roster_complaint, share_complaint

SECRET_BYTES: Final = 32

Sign = Callable[[SignedPurpose, bytes], bytes]
"""Sign content for a purpose with the identity key, which never leaves its process."""


@dataclass(frozen=True, slots=True)
class OfferSecrets:
    """The two secret keys of one open offer. Never written to disk."""

    sealing: EncSecretKey
    masking: MaskSecretKey

    @classmethod
    def drawn(cls, random: RandomBytes) -> "OfferSecrets":
        """Return fresh keys."""
        return cls(EncSecretKey.generate(random), MaskSecretKey.generate(random))

    def sign(self, offer: Offer, certificate: str, sign: Sign) -> Offer:
        """Return the offer with its public keys, signed.

        Args:
            certificate: of the identity, base64 of its DER.
        """
        keys = OfferKeys(
            sealing=self.sealing.public.to_bytes().hex(),
            masking=self.masking.public.to_bytes().hex(),
            certificate=certificate,
        )
        unsigned = replace(offer, keys=keys)
        return replace(unsigned, signature=sign("offer", signed_content(unsigned)).hex())


@dataclass(frozen=True, slots=True)
class MaskedMember:
    """Who this worker is in an attempt, and what it insists on.

    Args:
        unsafe: rules that are not looked at: only tests, that show what they are for, give any.
    """

    name: WorkerId
    algorithm: Algorithm
    trust: Trust
    admits: Admits
    sign: Sign
    random: RandomBytes
    unsafe: frozenset[Rule] = frozenset()


class MaskedAttempt:
    """See the module docstring.

    Args:
        plan: already accepted by `worker/rounds/round.py`.
        secrets: of the offer that the plan used.

    Raises:
        RefusedError: rule 1, 3, 4 or 8.
    """

    def __init__(self, member: MaskedMember, plan: Plan, secrets: OfferSecrets) -> None:
        self._member = member
        self._plan = plan
        self._secrets = secrets
        self._hash = plan_hash(plan)
        algorithm, trust = member.algorithm, member.trust
        self._refuse_if(Rule.TERMS, trust.complaint(algorithm, plan.tier))
        self._refuse_if(Rule.ROSTER, roster_complaint(plan, member.admits))
        self._refuse_if(Rule.COHORT, cohort_complaint(plan, algorithm))
        self._refuse_if(Rule.SEALED, self._keys_complaint())
        self._own = member.random(SECRET_BYTES)  # b_i
        self._common = member.random(SECRET_BYTES)  # kappa_i
        self._answered: tuple[Answer, dict[WorkerId, bytes]] | None = None
        self._answers: Mapping[WorkerId, Answer] = {}
        self._shares: dict[WorkerId, SealedShares] = {}
        self._survivors: tuple[WorkerId, ...] = ()
        self._abandoned = self._protected = False
        self._context = Context(b"")
        self.kappa = b""

    def answer(self, numbers: Numbers) -> tuple[Answer, dict[WorkerId, bytes]]:
        """Return the answer to the plan, and what is sealed for each other member."""
        if self._answered is not None:
            return self._answered
        me, plan = self._member.name, self._plan
        xs = [x_coordinate(w, plan.roster) for w in plan.roster]
        mask_key = self._secrets.masking.to_bytes()
        own = split(self._own, plan.threshold, xs, self._member.random)
        mask = split(mask_key, plan.threshold, xs, self._member.random)
        sealed: dict[WorkerId, bytes] = {}
        for worker, share_of_own, share_of_mask in zip(plan.roster, own, mask, strict=True):
            shares = SealedShares(share_of_own, share_of_mask, self._common)
            if worker == me:
                self._shares[me] = shares
                continue
            key = derived.share_key(
                self._secrets.sealing, enc_key_of(plan, worker), self._hash, me, worker
            )
            sealed[worker] = seal(key, self._hash, me, worker, shares)
        unsigned = Answer(
            plan=Digest(self._hash.hex()),
            worker=me,
            numbers=numbers,
            commitments=Commitments(
                own=commit("commit-self", self._own).hex(),
                common=commit("commit-kappa", self._common).hex(),
            ),
        )
        signature = self._member.sign("shares", signed_content(unsigned))
        self._answered = replace(unsigned, signature=signature.hex()), sealed
        return self._answered

    def named(self, answers: Mapping[WorkerId, Answer], sealed: Mapping[WorkerId, bytes]) -> None:
        """Take U2 and what its members sealed for this one: from here on there are masks.

        Args:
            answers: of U2, already looked at by `WorkerRound.expose`.
            sealed: by sender.

        Raises:
            RefusedError: rule 6, 8, 9 or 13.
        """
        self._refuse_if(Rule.REVEAL, "this worker has abandoned the round" * self._abandoned)
        self._refuse_if(Rule.MEMBERS, self._unsigned(answers))
        self._refuse_if(Rule.SHARE, self._share_complaint(answers, tuple(answers)))
        self._answers = answers
        commons: dict[str, bytes] = {}
        for worker in sorted(answers):
            if worker != self._member.name:
                shares, complaint = self._opened(worker, answers[worker], sealed)
                self._refuse_if(Rule.SEALED, complaint)
                if shares is None:
                    continue
                self._shares[worker] = shares
            commons[worker] = self._shares[worker].kappa
        self._context = context(self._plan, answers)
        self.kappa = derived.kappa(commons, self._context).to_bytes()

    def protect(self, layout: PayloadLayout, shards: Iterable[ShardBytes]) -> Iterator[ShardBytes]:
        """Yield this member's shards as they are sent: tagged and masked.

        Once per attempt: of two payloads under one mask, the difference would be in the open.

        Args:
            layout: of the round, with tags.
            shards: of values and side values, in order.

        Raises:
            RefusedError: rule 10: this attempt's masks are used up.
        """
        self._refuse_if(Rule.REPEATED, "its masks were used before" * self._protected)
        self._protected = True
        masks = self._masks(Ring(layout.bits))
        tagger = Tagger(layout, (self._context, self.kappa))
        pads = Pads(self.kappa, self._answers)
        return masked_shards(layout, shards, self._member.name, masks, tagger, pads)

    def _masks(self, ring: Ring) -> Masks:
        me, seeds = self._member.name, dict[WorkerId, bytes]()
        for worker in sorted(self._answers.keys() - {me}):
            other = mask_key_of(self._plan, worker)
            seed = derived.pair_seed(self._secrets.masking, other, self._context, me, worker)
            seeds[worker] = seed.to_bytes()
        own = derived.self_seed(self._own, self._context, me)
        return member_masks(ring, me, own.to_bytes(), seeds)

    def survived(self, survivors: tuple[WorkerId, ...]) -> bytes | None:
        """Take S; return this member's signature over it, None where S is U2: then reveal.

        Raises:
            RefusedError: rule 6, 11 or 13; nothing is revealed.
        """
        me, u2 = self._member.name, self._answers.keys()
        complaint = ""
        if list(survivors) != sorted(set(survivors)):
            complaint = "the survivors are not sorted, each once"
        elif not set(survivors) <= u2:
            complaint = "a survivor is not in U2"
        elif len(survivors) < self._plan.threshold:
            complaint = f"{len(survivors)} survivors, the threshold is {self._plan.threshold}"
        elif me not in survivors:
            complaint = "this worker is no survivor, and is asked for shares"
        elif self._survivors and self._survivors != survivors:
            complaint = "other survivors were named before in this round"
        self._refuse_if(Rule.SURVIVORS, complaint)
        self._refuse_if(Rule.REVEAL, "this worker has abandoned the round" * self._abandoned)
        self._refuse_if(Rule.SHARE, self._share_complaint(self._answers, survivors))
        self._survivors = survivors
        if len(survivors) == len(u2):
            return None
        content = list_content(self._plan, tuple(sorted(u2)), survivors)
        return self._member.sign("list", content)

    def reveal(self, signatures: Mapping[WorkerId, bytes]) -> RevealedShares:
        """Return one share of each member of U2, for the S that was taken.

        Args:
            signatures: over S; needed where S is not U2.

        Raises:
            RefusedError: rule 12 or 13; nothing is revealed.
        """
        self._refuse_if(Rule.REVEAL, "no survivors were named" * (not self._survivors))
        self._refuse_if(Rule.REVEAL, "this worker has abandoned the round" * self._abandoned)
        if len(self._survivors) < len(self._answers):
            self._refuse_if(Rule.SIGNATURES, self._signatures_complaint(signatures))
        missing = sorted(self._answers.keys() - self._shares.keys())
        self._refuse_if(
            Rule.REVEAL, f"it holds no share of {', '.join(missing)}" if missing else ""
        )
        held = self._answers.keys() & self._shares.keys()
        return RevealedShares(
            own={w: self._shares[w].of_self.to_bytes() for w in self._survivors if w in held},
            mask={
                w: self._shares[w].of_mask_key.to_bytes()
                for w in sorted(held - set(self._survivors))
            },
        )

    def abandon(self) -> bytes:
        """Return this member's signature that it will never reveal a share. It keeps its word."""
        self._abandoned = True
        return self._member.sign("abandon", abandon_content(self._plan))

    # ----------------------------------------------------------------------------------------------

    def _refuse_if(self, rule: Rule, complaint: str) -> None:
        if complaint and rule not in self._member.unsafe:
            raise RefusedError(self._plan.round, rule, complaint)

    def _keys_complaint(self) -> str:
        """Return whose keys give no secret with this member's; "" if all do (rule 8).

        Before anything is frozen: one member's offer must not break what follows in the others.
        """
        me, plan, own = self._member.name, self._plan, self._secrets
        no_context = Context(bytes(HASH_BYTES))
        for worker in plan.roster:
            if worker != me:
                try:
                    derived.share_key(own.sealing, enc_key_of(plan, worker), self._hash, me, worker)
                    mask_key = mask_key_of(plan, worker)
                    derived.pair_seed(own.masking, mask_key, no_context, me, worker)
                except BadKeyError as e:
                    return f"{worker}: {e}"
        return ""

    def _unsigned(self, answers: Mapping[WorkerId, Answer]) -> str:
        """Return whose answer its member did not sign for this plan; "" if all are (rule 9)."""
        for worker, answer in answers.items():
            if (answer.worker, answer.plan) != (worker, self._hash.hex()):
                return f"the answer of {worker} is of {answer.worker}, or to another plan"
            key, content = identity_of(self._plan, worker), signed_content(answer)
            if not is_signed(key, "shares", content, answer.signature):
                return f"the signature of the answer of {worker} is wrong"
        return ""

    def _share_complaint(
        self, answers: Mapping[WorkerId, Answer], members: tuple[WorkerId, ...]
    ) -> str:
        numbers = {w: a.numbers for w, a in answers.items()}
        most = min(self._member.trust.max_share, self._member.algorithm.max_share)
        try:
            return share_complaint(
                numbers, members, self._member.algorithm, self._plan.threshold, most
            )
        except BadNumbersError as e:
            self._refuse_if(Rule.OWN_UPDATE, str(e))
            return ""

    def _opened(
        self, worker: WorkerId, answer: Answer, sealed: Mapping[WorkerId, bytes]
    ) -> tuple[SealedShares | None, str]:
        """Return what a member sealed for this one, or why it cannot be believed (rule 8)."""
        me = self._member.name
        if worker not in sealed:
            return None, f"{worker}: no share of it came"
        try:
            other = enc_key_of(self._plan, worker)
            key = derived.share_key(self._secrets.sealing, other, self._hash, worker, me)
            x = x_coordinate(me, self._plan.roster)
            shares = unseal(key, self._hash, worker, me, sealed[worker], x)
        except (BadKeyError, BadShareError) as e:
            return None, f"{worker}: {e}"
        committed = b""
        if answer.commitments is not None:
            with contextlib.suppress(ValueError):  # not hexadecimal: then it matches nothing
                committed = bytes.fromhex(answer.commitments.common)
        if not matches(committed, "commit-kappa", shares.kappa):
            return shares, f"{worker}: its part of kappa is not what it committed to"
        return shares, ""

    def _signatures_complaint(self, signatures: Mapping[WorkerId, bytes]) -> str:
        content = list_content(self._plan, tuple(sorted(self._answers)), self._survivors)
        valid = [
            worker
            for worker, signature in signatures.items()
            if worker in self._survivors
            and is_signed(identity_of(self._plan, worker), "list", content, signature.hex())
        ]
        if len(valid) < self._plan.threshold:
            return f"{len(valid)} valid signatures over S, {self._plan.threshold} are needed"
        return ""
