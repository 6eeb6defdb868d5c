"""What a process signs with: its certificate's key, read anew for each signature."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from common.documents import RollbackOrder
from common.errors import ConfigError
from common.ids import Digest
from common.secagg import signatures
from common.secagg.labels import SignedPurpose
from common.secagg.transcript import signed_content
from services.config.settings import TlsSettings


def own_certificate(tls: TlsSettings) -> str:
    """Return this process's certificate, base64 of its DER."""
    certificate = x509.load_pem_x509_certificate(tls.certificate.read_bytes())
    return b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode("ascii")


def check_signs(tls: TlsSettings) -> None:
    """Let this process's key pass if it can sign, as the masked tier wants it to.

    Raises:
        ConfigError: of another kind; names the file.
    """
    key = serialization.load_pem_private_key(tls.key.read_bytes(), password=None)
    try:
        signatures.identity_key(key)
    except ConfigError as e:
        raise ConfigError(f"{tls.key}: {e}") from None


def signer(tls: TlsSettings) -> Callable[[SignedPurpose, bytes], bytes]:
    """Return what signs with this process's key."""

    def sign(purpose: SignedPurpose, content: bytes) -> bytes:
        key = serialization.load_pem_private_key(tls.key.read_bytes(), password=None)
        return signatures.sign(signatures.identity_key(key), purpose, content)

    return sign


def signed_order(
    tls: TlsSettings, *, genesis: Digest, version: int, digest: Digest, num_records: int
) -> RollbackOrder:
    """Return an operator's order to roll back; `RollbackOrder` says what each value is."""
    order = RollbackOrder(genesis, version, digest, num_records, own_certificate(tls))
    signature = signer(tls)("rollback", signed_content(order))
    return replace(order, signature=signature.hex())
