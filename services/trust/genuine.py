"""Tells whose certificate one is, if the federation's CA has signed it and it is valid now.

Whether its holder is wanted here is for the caller to say: by role, member list or pins.
"""

import datetime
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from common.errors import CrosscloudError, NotAMemberError
from common.foreign import foreign
from common.secagg.signatures import IdentityPublicKey
from common.secagg.transcript import certified_key
from services.config.renewed import Renewed
from services.trust.authority_file import read_authority
from services.trust.identity import Identity, identity_in


class Genuine:
    """See the module docstring. The CA's file is read again when it changes.

    Args:
        ca: the federation's CA certificate, PEM.
        now: the present, for certificates' validity.

    Raises:
        ConfigError: the file cannot be read, or holds several certificates.
    """

    def __init__(self, ca: Path, now: Callable[[], datetime.datetime]) -> None:
        self._now = now
        self._ca = Renewed(f"CA {ca}", (ca,), lambda: read_authority(ca))

    def __call__(self, certificate_der: bytes) -> tuple[Identity, IdentityPublicKey]:
        """Return whose certificate this is, and what its signatures are checked with.

        Raises:
            NotAMemberError: nobody's, whatever the bytes are.
        """
        return self._read(certificate_der, self._now())

    def ever(self, certificate_der: bytes) -> tuple[Identity, IdentityPublicKey]:
        """Return the same of a certificate that may have ended: its signatures outlive it.

        Raises:
            NotAMemberError: nobody's, whatever the bytes are.
        """
        return self._read(certificate_der, None)

    def _read(
        self, certificate_der: bytes, now: datetime.datetime | None
    ) -> tuple[Identity, IdentityPublicKey]:
        authority = self._ca.read()
        try:
            with foreign("its certificate"):
                certificate = x509.load_der_x509_certificate(certificate_der)
                certificate.verify_directly_issued_by(authority)
                begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        except CrosscloudError:
            raise NotAMemberError("its certificate is not signed by the federation's CA") from None
        if now is not None and not begins <= now <= ends:
            raise NotAMemberError("its certificate has expired, or is not valid yet")
        try:
            return identity_in(certificate), certified_key(certificate_der)
        except CrosscloudError as e:
            raise NotAMemberError(str(e)) from None
