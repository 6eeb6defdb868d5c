"""The masked tier beside its rounds: an offer's keys, and whose word a version is adopted on."""

from collections.abc import Callable
from dataclasses import replace

from common.documents import Attestation, Offer, Plan, Record
from common.errors import BadSignatureError, ProtocolError
from common.ids import Digest
from common.orders import order_complaint
from common.parties import Admits
from common.secagg.transcript import abandon_content, certificate_der, is_signed, signed_content
from worker.masking import Attempt, Member, OfferSecrets
from worker.round import Rule


class MaskedTier:
    """What a worker needs in the masked tier beside a round: offers' keys, and whom it believes.

    A version is adopted if this worker checked its sum itself, or if c + 1 organisations say that
    they did: so nobody who was not in a sum can be led onto a model of his own.

    Args:
        certificate: returns that of this worker's identity, base64 of its DER: it may be renewed.
        genesis: digest of version 0, which needs nobody's word.
        operators: says whose an operator's certificate is.
    """

    def __init__(
        self,
        member: Member,
        run: str,
        certificate: Callable[[], str],
        genesis: Digest,
        operators: Admits,
    ) -> None:
        self._member = member
        self._run = run
        self._certificate = certificate
        self._secrets: OfferSecrets | None = None
        self._words: dict[str, tuple[int, Digest]] = {}  # each organisation's newest
        self._genesis = genesis
        self._operators = operators

    @property
    def max_clip(self) -> float:
        """C_max: this worker's own bound on the length of its updates."""
        return self._member.trust.max_clip

    def sign_offer(self, offer: Offer) -> Offer:
        """Return the offer with fresh keys, signed; those of the offer before are gone."""
        self._secrets = OfferSecrets.drawn(self._member.random)
        return self._secrets.sign(offer, self._certificate(), self._member.sign)

    def begin(self, plan: Plan) -> Attempt:
        """Take part in a round: the keys of the open offer are used up.

        Raises:
            RefusedError: rule 1, 3, 4 or 8.
        """
        secrets = self._secrets
        if Rule.OFFER not in self._member.unsafe:
            self._secrets = None
        assert secrets is not None, "the plan holds this worker's open offer"
        return Attempt(self._member, plan, secrets)

    def abandon(self, plan: Plan) -> bytes:
        """Return the signature that says: of this round, this process will reveal nothing."""
        return self._member.sign("abandon", abandon_content(plan))

    def vouched(self, version: int, digest: Digest) -> bool:
        """Return whether a version may be adopted on others' word."""
        if version == 0 and digest == self._genesis:
            return True
        vouchers = sum(word == (version, digest) for word in self._words.values())
        return vouchers > self._member.trust.colluding

    def rollback_complaint(self, record: Record, last_seq: int) -> str:
        """Return why a roll-back is no operator's; "" if it is.

        Args:
            last_seq: of the newest roll-back before it; -1 = there was none.
        """
        assert record.rollback is not None
        order = record.rollback.order
        if order is None:
            return "no operator has signed it"
        try:
            party = self._operators(certificate_der(order.certificate, record.rollback.by))
        except ProtocolError as e:
            return str(e)
        return order_complaint(record.rollback, self._run, record.seq, last_seq, party.key)

    def attestation(self, version: int, digest: Digest) -> Attestation | None:
        """Return this worker's word that it verified a version."""
        certificate = self._certificate()
        unsigned = Attestation(self._run, self._member.name, version, digest, certificate)
        signature = self._member.sign("head", signed_content(unsigned))
        return replace(unsigned, signature=signature.hex())

    def heard(self, attestation: Attestation) -> None:
        """Another worker attests a version; of each organisation, the newest word counts.

        Raises:
            NotAMemberError: it is no admitted worker's.
            BadSignatureError: the signature is not its own.
        """
        a = attestation
        party = self._member.admits(certificate_der(a.certificate, a.worker))
        signed = is_signed(party.key, "head", signed_content(a), a.signature)
        if (a.run, a.worker) != (self._run, party.name) or not signed:
            raise BadSignatureError(f"{a.worker}: its word for version {a.version} is not its own")
        if party.name != self._member.name:
            self._words[party.organisation] = (a.version, a.digest)
