"""What a process signs with: its certificate's key, read anew for each signature."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace

from cryptography.hazmat.primitives import serialization

from common.documents import RollbackOrder
from common.errors import ConfigError
from common.ids import Digest
from common.secagg import signatures
from common.secagg.labels import SignedPurpose
from common.secagg.transcript import signed_content
from services.config.settings import TlsSettings
from services.disk.small_file import read_small
from services.trust.authority_file import certificate_in, read_certificate_file


def own_certificate(tls: TlsSettings) -> str:
    """Return this process's certificate, base64 of its DER."""
    certificate = certificate_in(read_certificate_file(tls.certificate), tls.certificate)
    return b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode("ascii")


def check_signs(tls: TlsSettings) -> None:
    """Let this process's key pass if it can sign, as the masked tier wants it to.

    Raises:
        ConfigError: of another kind; names the file.
    """
    try:
        _key(tls)
    except ConfigError as e:
        raise ConfigError(f"{tls.key}: {e}") from None


def signer(tls: TlsSettings) -> Callable[[SignedPurpose, bytes], bytes]:
    """Return what signs with this process's key."""

    def sign(purpose: SignedPurpose, content: bytes) -> bytes:
        return signatures.sign(_key(tls), purpose, content)

    return sign


def _key(tls: TlsSettings) -> signatures.IdentityKey:
    return signatures.identity_key(
        serialization.load_pem_private_key(read_small(tls.key), password=None)
    )


def signed_order(
    tls: TlsSettings, *, genesis: Digest, version: int, digest: Digest, num_records: int
) -> RollbackOrder:
    """Return an operator's order to roll back; `RollbackOrder` says what each value is."""
    order = RollbackOrder(genesis, version, digest, num_records, own_certificate(tls))
    signature = signer(tls)("rollback", signed_content(order))
    return replace(order, signature=signature.hex())
