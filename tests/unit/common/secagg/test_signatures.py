import hashlib
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from common.errors import BadKeyError, BadSignatureError, ConfigError
from common.secagg.labels import PlanHash, SignedPurpose
from common.secagg.signatures import (
    IdentityKey,
    identity_key,
    identity_public_key,
    key_id,
    list_content,
    sign,
    verify,
)
from services.trust.authority import issue, new_authority
from services.trust.identity import Identity, Role

P256 = ec.derive_private_key(7, ec.SECP256R1())
ED25519 = Ed25519PrivateKey.from_private_bytes(b"7" * 32)
PH = PlanHash(b"p" * 32)

both_kinds = pytest.mark.parametrize("key", [P256, ED25519], ids=["p256", "ed25519"])


def der(key: IdentityKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@both_kinds
@pytest.mark.parametrize("purpose", get_args(SignedPurpose))
def test_a_signature_holds_for_its_own_purpose_alone(
    key: IdentityKey, purpose: SignedPurpose
) -> None:
    signature = sign(key, purpose, b"content")
    assert len(signature) <= 72
    verify(key.public_key(), purpose, b"content", signature)
    for other in {*get_args(SignedPurpose)} - {purpose}:
        with pytest.raises(BadSignatureError):
            verify(key.public_key(), other, b"content", signature)


@both_kinds
def test_other_bytes_another_key_or_a_damaged_signature_are_refused(key: IdentityKey) -> None:
    public, signature = key.public_key(), sign(key, "offer", b"content")
    damaged = signature[:-1] + bytes([signature[-1] ^ 1])
    strangers = (
        ec.derive_private_key(8, ec.SECP256R1()),
        Ed25519PrivateKey.from_private_bytes(b"8" * 32),
    )
    for content, sent in ((b"Content", signature), (b"content", damaged), (b"content", b"")):
        with pytest.raises(BadSignatureError, match=key_id(public)):
            verify(public, "offer", content, sent)
    for stranger in strangers:
        with pytest.raises(BadSignatureError, match="not by the key"):
            verify(public, "offer", b"content", sign(stranger, "offer", b"content"))


@both_kinds
def test_one_content_gets_the_same_signature_twice(key: IdentityKey) -> None:
    assert sign(key, "list", b"content") == sign(key, "list", b"content")


@both_kinds
def test_what_is_pinned_is_the_digest_of_the_public_key(key: IdentityKey) -> None:
    assert key_id(key.public_key()) == hashlib.sha256(der(key)).hexdigest()


def test_a_key_has_one_pin_however_it_was_written() -> None:
    point = P256.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    usual = der(P256)
    body = usual[2:-68] + b"\x03\x22\x00" + point
    compressed = bytes([0x30, len(body)]) + body
    read = identity_public_key(load_der_public_key(compressed))
    assert key_id(read) == key_id(P256.public_key())


def test_other_kinds_of_key_are_refused() -> None:
    for key in (ec.derive_private_key(7, ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
        with pytest.raises(ConfigError, match="P-256 or Ed25519"):
            identity_key(key)
        with pytest.raises(BadKeyError, match="P-256 or Ed25519"):
            identity_public_key(key.public_key())


def test_certificates_of_our_own_authority_can_sign() -> None:
    now = datetime.now(UTC)
    until = now + timedelta(days=1)
    worker = Identity("demo", Role.WORKER, "acme", "aws")
    pem, key_pem = issue(new_authority("demo", now, until), worker, (), now, until)
    key = identity_key(load_pem_private_key(key_pem, None))
    public = identity_public_key(x509.load_pem_x509_certificate(pem).public_key())

    verify(public, "offer", b"content", sign(key, "offer", b"content"))
    assert key_id(public) == key_id(key.public_key())


def test_a_list_is_of_one_plan_one_u2_and_one_s() -> None:
    u2, s = ("aws", "azure", "gcp"), ("aws", "gcp")
    contents = [
        list_content(PH, u2, s),
        list_content(PlanHash(b"q" * 32), u2, s),
        list_content(PH, u2, u2),
        list_content(PH, s, s),
        list_content(PH, (*u2, "oci"), s),
        list_content(PH, s, u2),
    ]
    assert len(set(contents)) == len(contents)
    assert list_content(PH, u2[::-1], s[::-1]) == contents[0]
