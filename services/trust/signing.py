"""What a process signs with: its certificate and the key of it, renewed as a pair."""

from base64 import b64encode
from dataclasses import replace

from cryptography.hazmat.primitives import serialization

from common.documents import Evaluation, RollbackOrder
from common.errors import ConfigError
from common.ids import Digest
from common.secagg import signatures
from common.secagg.labels import SignedPurpose
from common.secagg.transcript import signed_content
from services.config.renewed import Renewed
from services.config.settings import TlsSettings
from services.trust.authority_file import certificate_in, read_certificate_file
from services.trust.own import checked_key


class Signer:
    """This process's certificate and its key; new files that are no pair yet change nothing.

    Raises:
        ConfigError: at start they are no pair, or cannot sign as the masked tier wants it; names
            the file.
    """

    def __init__(self, tls: TlsSettings) -> None:
        what, paths = f"{tls.certificate} and its key, to sign with", (tls.certificate, tls.key)
        self._pair = Renewed(what, paths, lambda: _pair(tls))

    def certificate(self) -> str:
        """Return the certificate, base64 of its DER."""
        return self._pair.read()[0]

    def sign(self, purpose: SignedPurpose, content: bytes) -> bytes:
        """Return the key's signature."""
        return signatures.sign(self._pair.read()[1], purpose, content)


def _pair(tls: TlsSettings) -> tuple[str, signatures.IdentityKey]:
    certificate = certificate_in(read_certificate_file(tls.certificate), tls.certificate)
    content = checked_key(tls, certificate)
    try:
        key = signatures.identity_key(serialization.load_pem_private_key(content, password=None))
    except ConfigError as e:
        raise ConfigError(f"{tls.key}: {e}") from None
    der = certificate.public_bytes(serialization.Encoding.DER)
    return b64encode(der).decode("ascii"), key


def signed_order(
    tls: TlsSettings, *, genesis: Digest, version: int, digest: Digest, num_records: int
) -> RollbackOrder:
    """Return an operator's order to roll back; `RollbackOrder` says what each value is."""
    signer = Signer(tls)
    order = RollbackOrder(genesis, version, digest, num_records, signer.certificate())
    return replace(order, signature=signer.sign("rollback", signed_content(order)).hex())


def signed_evaluation(signer: Signer, found: Evaluation) -> Evaluation:
    """Return what an evaluator found, with its certificate and signature."""
    unsigned = replace(found, certificate=signer.certificate(), signature=None)
    signature = signer.sign("evaluation", signed_content(unsigned))
    return replace(unsigned, signature=signature.hex())
