"""Keys, certificates and bytes that follow from names: the same in every run, and quick to make."""

import datetime
import functools
import hashlib
from base64 import b64encode
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from common.ids import WorkerId
from common.parties import Party
from common.secagg import signatures
from common.secagg.transcript import certified_key

_DAY: Final = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


class Drawn:
    """A source of bytes that gives the same ones for the same seed; it can be stored."""

    def __init__(self, seed: str) -> None:
        self.seed, self.num = seed, 0

    def __call__(self, num_bytes: int) -> bytes:
        """Return the next so many bytes."""
        self.num += 1
        return hashlib.shake_256(f"{self.seed}/{self.num}".encode()).digest(num_bytes)

    def nonce(self) -> str:
        """Return an offer's nonce."""
        return self(16).hex()


@functools.cache
def identity_key(name: str) -> Ed25519PrivateKey:
    """Return the key of a name's identity."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"key of {name}".encode()).digest())


@functools.cache
def certificate(name: str) -> str:
    """Return a certificate of that name's key, base64 of its DER."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder(
        issuer_name=subject,
        subject_name=subject,
        public_key=identity_key(name).public_key(),
        serial_number=1,
        not_valid_before=_DAY,
        not_valid_after=_DAY + datetime.timedelta(days=1),
    ).sign(identity_key(name), None)
    return b64encode(made.public_bytes(Encoding.DER)).decode("ascii")


@functools.cache
def party_of(der: bytes) -> Party:
    """Return whose certificate it is; each name is an organisation of its own."""
    (subject,) = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(
        NameOID.COMMON_NAME
    )
    name, key = str(subject.value), certified_key(der)
    return Party(WorkerId(name), name, key, signatures.key_id(key))
