"""A renewal copies two files, one after the other: what signs meanwhile is the pair before it."""

import logging
import os
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from common.errors import ConfigError
from common.secagg.signatures import identity_public_key, verify
from services.config.settings import TlsSettings
from services.trust.signing import Signer
from tests.rig.certificates import authority, tls_files


def signs(signer: Signer) -> bytes:
    """Check that what signs is the key of the certificate that is shown; return its DER."""
    der = b64decode(signer.certificate())
    key = identity_public_key(x509.load_der_x509_certificate(der).public_key())
    verify(key, "head", b"content", signer.sign("head", b"content"))
    return der


def der_in(tls: TlsSettings) -> bytes:
    certificate = x509.load_pem_x509_certificate(tls.certificate.read_bytes())
    return certificate.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("which", ["certificate", "key"])
@pytest.mark.parametrize("state", ["missing", "half", "pipe", "of another pair"])
def test_files_that_are_no_pair_for_a_moment_change_nothing_and_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, which: str, state: str
) -> None:
    ca = authority()
    tls, new = tls_files(tmp_path / "own", ca), tls_files(tmp_path / "new", ca)
    signer, before = Signer(tls), der_in(tls)
    path, content = getattr(tls, which), getattr(new, which).read_bytes()
    path.unlink()
    if state == "pipe":
        os.mkfifo(path)
    elif state != "missing":
        path.write_bytes(content[: len(content) // 2] if state == "half" else content)

    with caplog.at_level(logging.WARNING):
        assert [signs(signer) for _ in range(3)] == [before] * 3
    (record,) = caplog.records
    said = record.message.partition("the last good one stays: ")[2]
    assert said.count(str(path)) == 1

    path.unlink(missing_ok=True)
    for source, target in ((new.certificate, tls.certificate), (new.key, tls.key)):
        source.replace(target)
    assert signs(signer) == der_in(tls) != before


@pytest.mark.parametrize("state", ["missing", "pipe", "RSA"])
def test_at_start_a_key_that_cannot_sign_is_an_error_that_names_it_once(
    tmp_path: Path, state: str
) -> None:
    tls = tls_files(tmp_path, authority())
    tls.key.unlink()
    if state == "pipe":
        os.mkfifo(tls.key)
    elif state == "RSA":
        rsa_pair(tls)
    with pytest.raises(ConfigError) as refused:
        Signer(tls)
    assert str(refused.value).count(str(tls.key)) == 1


def rsa_pair(tls: TlsSettings) -> None:
    """Put a pair of another kind into the files' place."""
    key = rsa.generate_private_key(65537, 2048)
    old = x509.load_pem_x509_certificate(tls.certificate.read_bytes())
    builder = x509.CertificateBuilder(
        issuer_name=old.issuer,
        subject_name=old.subject,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=old.not_valid_before_utc,
        not_valid_after=old.not_valid_after_utc,
    )
    pem = serialization.Encoding.PEM
    tls.certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    form, no_password = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    tls.key.write_bytes(key.private_bytes(pem, form, no_password))
