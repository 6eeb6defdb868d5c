"""The masked tier outside its rounds: an offer's keys, and what a version is believed on."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from common import canonical
from common.documents import Attestation, Counters, Genesis, Offer, Plan, Record
from common.orders import rollback_complaint
from common.parties import Admits
from common.rounds import Rule
from common.secagg.transcript import abandon_content, signed_content
from common.words import word_about
from worker.rounds.attempt import MaskedAttempt, MaskedMember, OfferSecrets
from worker.rounds.belief import Belief
from worker.rounds.visited import Visited


class MaskedTier:
    """What a worker needs in the masked tier beside a round: offers' keys, and what it believes.

    Args:
        certificate: returns that of this worker's identity, base64 of its DER: it may be renewed.
        admitted: whose certificate it is, of a worker who may be a member, though it may have
            ended since: words and orders outlive it.
        operators: the same of an operator.
    """

    def __init__(
        self,
        member: MaskedMember,
        genesis: Genesis,
        certificate: Callable[[], str],
        *,
        admitted: Admits,
        operators: Admits,
    ) -> None:
        self._member = member
        self._genesis = genesis
        self._id = canonical.digest(genesis)
        self._certificate = certificate
        self._secrets: OfferSecrets | None = None
        is_sure = Rule.RECORD not in member.unsafe
        self.words = Belief(genesis, admitted, is_sure=is_sure)
        self._operators = operators

    @property
    def max_clip(self) -> float:
        """C_max: this worker's own bound on the length of its updates."""
        return self._member.trust.max_clip

    def sign_offer(self, offer: Offer) -> Offer:
        """Return the offer with fresh keys, signed; those of the offer before are gone."""
        self._secrets = OfferSecrets.drawn(self._member.random)
        return self._secrets.sign(offer, self._certificate(), self._member.sign)

    def begin(self, plan: Plan) -> MaskedAttempt:
        """Take part in a round: the keys of the open offer are used up.

        Raises:
            RefusedError: rule 1, 3, 4 or 8.
        """
        secrets = self._secrets
        if Rule.OFFER not in self._member.unsafe:
            self._secrets = None
        if secrets is None:
            raise AssertionError("the keys of an offer serve one plan only")
        return MaskedAttempt(self._member, plan, secrets)

    def abandon(self, plan: Plan) -> bytes:
        """Return the signature that says: of this round, this process will reveal nothing."""
        return self._member.sign("abandon", abandon_content(plan))

    def read(self, record: Record) -> None:
        """Take what a record says before anything is decided about it."""
        self.words.read(record)

    def unread(self, records: Iterable[Record]) -> None:
        """Records were read and not followed: they may come otherwise."""
        self.words.unread(records)

    def forget(self, records: Sequence[Record]) -> None:
        """Records were followed."""
        self.words.forget(records)

    def heard(self, word: Attestation) -> None:
        """Take a member's word for what its round made."""
        self.words.heard(word)

    def believes(self, record: Record, known: Visited, *, begun: bool) -> bool:
        """Return whether the version that a record makes or brings back is to be stood on.

        Version 0 needs nobody's word, from a worker that has not begun.
        """
        if record.commit is not None:
            return self.words.believes(record)
        if record.rollback is not None:
            if not begun and self.rollback_complaint(record, -1):
                return False
            return known.returns(record) or self.words.believes_origin(record)
        return not begun and self._is_first(record)

    def _is_first(self, record: Record) -> bool:
        """Return whether a record says of a run what its first one must, before any commit."""
        nothing = Counters(elapsed_s=record.counters.elapsed_s)
        said = (record.version, record.digest, record.counters, record.progress, record.rolled_back)
        return said == (0, self._genesis.version0, nothing, 0.0, -1)

    def rollback_complaint(self, record: Record, last_seq: int) -> str:
        """Return why a roll-back is no operator's; "" if it is.

        Args:
            last_seq: of the newest roll-back before it; -1 = there was none.
        """
        assert record.rollback is not None
        if Rule.RECORD in self._member.unsafe:
            return ""
        return rollback_complaint(record, self._id, last_seq, self._operators)

    def complaint(self, record: Record) -> str:
        """Return why nobody's word for a commit counts here; "" if nothing is wrong with them."""
        return self.words.complaint(record)

    def word(self, record: Record) -> Attestation:
        """Return this worker's word for a commit's version: it has checked the sum and the step."""
        unsigned = word_about(self._id, record, self._member.name)
        signature = self._member.sign("head", signed_content(unsigned))
        return replace(unsigned, signature=signature.hex())

    def newest_words(self) -> tuple[Attestation, ...]:
        """Return all words for the newest commit's version."""
        return self.words.newest()
