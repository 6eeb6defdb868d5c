import functools
import hashlib
import hmac
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from common.secagg.commitments import commit
from common.secagg.keys import (
    EncPublicKey,
    EncSecretKey,
    MaskPublicKey,
    MaskSecretKey,
    kappa,
    pair_seed,
    self_seed,
    share_key,
)
from common.secagg.labels import context, plan_hash
from common.secagg.sealing import SealedShares, seal, unseal
from common.secagg.shamir import PRIME, Share, combine, split
from common.secagg.signatures import list_content, sign, verify

HERE = Path(__file__).parent
PH = plan_hash(b"the plan as transported")
CTX = context(PH, ["gcp", "aws"], {"gcp": b"numbers of gcp", "aws": b"numbers of aws"})
COUNT = bytes(range(32))


def rows(name: str) -> list[list[str]]:
    lines = (HERE / name).read_text().splitlines()
    return [line.split(" ") for line in lines if not line.startswith("#")]


def unhex(text: str) -> bytes:
    return b"" if text == "-" else bytes.fromhex(text)


REDUCED = [r for r in rows("x25519.txt") if int.from_bytes(unhex(r[1]), "little") < 2**255 - 19]
"""Those whose u-coordinate an honest member could send."""


def secret_of(name: str) -> bytes:
    return hashlib.sha256(f"secret of {name}".encode()).digest()


def expected(name: str) -> bytes:
    return bytes.fromhex(dict(rows("secagg_keys.txt"))[name])


def hkdf(secret: bytes, salt: bytes, info: bytes, num_bytes: int = 32) -> bytes:
    """RFC 5869, section 2, with nothing but HMAC."""
    prk = hmac.new(salt or bytes(32), secret, hashlib.sha256).digest()
    out, block = b"", b""
    while len(out) < num_bytes:
        block = hmac.new(prk, block + info + bytes([1 + len(out) // 32]), hashlib.sha256).digest()
        out += block
    return out[:num_bytes]


@pytest.mark.parametrize(("scalar", "u", "result"), rows("x25519.txt"))
def test_x25519_gives_the_rfc_7748_answers(scalar: str, u: str, result: str) -> None:
    own = X25519PrivateKey.from_private_bytes(unhex(scalar))
    assert own.exchange(X25519PublicKey.from_public_bytes(unhex(u))) == unhex(result)


@pytest.mark.parametrize(("scalar", "u", "result"), REDUCED)
def test_our_seeds_come_from_the_rfc_7748_secrets(scalar: str, u: str, result: str) -> None:
    info = b"".join(
        len(part).to_bytes(4, "big") + part for part in (b"crosscloud/1/pair", b"aws", b"gcp")
    )
    seed = pair_seed(MaskSecretKey(unhex(scalar)), MaskPublicKey(unhex(u)), CTX, "gcp", "aws")
    assert seed.to_bytes() == hkdf(unhex(result), CTX, info)


def test_our_public_keys_are_those_of_rfc_7748() -> None:
    alice, bob = rows("x25519.txt")[2:]
    assert MaskSecretKey(unhex(alice[0])).public.to_bytes() == unhex(bob[1])
    assert EncSecretKey(unhex(bob[0])).public.to_bytes() == unhex(alice[1])


@pytest.mark.parametrize(("secret", "salt", "info", "result"), rows("hkdf_sha256.txt"))
def test_hkdf_gives_the_rfc_5869_answers(secret: str, salt: str, info: str, result: str) -> None:
    known = unhex(result)
    kdf = HKDF(SHA256(), len(known), unhex(salt) or None, unhex(info))
    assert kdf.derive(unhex(secret)) == known
    assert hkdf(unhex(secret), unhex(salt), unhex(info), len(known)) == known


def test_chacha20_poly1305_gives_the_rfc_8439_answer() -> None:
    ((key, nonce, data, plain, sealed),) = rows("chacha20_poly1305.txt")
    found = ChaCha20Poly1305(unhex(key)).encrypt(unhex(nonce), unhex(plain), unhex(data))
    assert found == unhex(sealed)


@pytest.mark.parametrize(("kind", "private", "message", "signature"), rows("signatures.txt"))
def test_signatures_are_those_of_the_rfcs(
    kind: str, private: str, message: str, signature: str
) -> None:
    known = unhex(signature)
    if kind == "ed25519":
        assert Ed25519PrivateKey.from_private_bytes(unhex(private)).sign(unhex(message)) == known
        return
    key = ec.derive_private_key(int(private, 16), ec.SECP256R1())
    r, s = (int.from_bytes(half) for half in (known[:32], known[32:]))
    found = key.sign(unhex(message), ec.ECDSA(SHA256(), deterministic_signing=True))
    assert found == encode_dss_signature(r, s)


def test_what_we_sign_is_the_label_and_the_digest() -> None:
    message = expected("signed_message")
    p256 = ec.derive_private_key(int(rows("signatures.txt")[0][1], 16), ec.SECP256R1())
    ed25519 = Ed25519PrivateKey.from_private_bytes(unhex(rows("signatures.txt")[2][1]))

    assert sign(ed25519, "list", b"content") == ed25519.sign(message)
    p256.public_key().verify(sign(p256, "list", b"content"), message, ec.ECDSA(SHA256()))
    verify(p256.public_key(), "list", b"content", p256.sign(message, ec.ECDSA(SHA256())))


def test_derivations_are_those_made_by_hand() -> None:
    aws_enc, gcp_enc = EncSecretKey(secret_of("aws")), EncSecretKey(secret_of("gcp"))
    aws, gcp = MaskSecretKey(secret_of("aws")), MaskSecretKey(secret_of("gcp"))
    to_gcp = share_key(aws_enc, EncPublicKey(expected("public_gcp")), PH, "aws", "gcp")
    to_aws = share_key(gcp_enc, aws_enc.public, PH, "gcp", "aws")

    found = {
        "public_aws": aws.public.to_bytes(),
        "public_gcp": gcp_enc.public.to_bytes(),
        "plan_hash": PH,
        "context": CTX,
        "share_key": to_gcp.to_bytes(),
        "share_key_back": to_aws.to_bytes(),
        "pair_seed": pair_seed(aws, gcp.public, CTX, "aws", "gcp").to_bytes(),
        "self_seed": self_seed(COUNT, CTX, "aws").to_bytes(),
        "kappa": kappa({"gcp": b"g" * 32, "aws": b"a" * 32}, CTX).to_bytes(),
        "sealed": seal(
            to_gcp, PH, "aws", "gcp", SealedShares(Share(2, 7), Share(2, PRIME - 1), COUNT)
        ),
        "commit-self": commit("commit-self", COUNT),
        "commit-kappa": commit("commit-kappa", COUNT),
        "list_content": list_content(PH, ["gcp", "azure", "aws"], ["gcp", "aws"]),
        "signed_message": expected("signed_message"),  # the test above
    }

    assert {name: value.hex() for name, value in found.items()} == dict(rows("secagg_keys.txt"))


def test_what_was_sealed_by_hand_opens() -> None:
    key = share_key(
        EncSecretKey(secret_of("gcp")), EncPublicKey(expected("public_aws")), PH, "aws", "gcp"
    )
    opened = unseal(key, PH, "aws", "gcp", expected("sealed"), 2)
    assert opened == SealedShares(Share(2, 7), Share(2, PRIME - 1), COUNT)


@pytest.mark.parametrize("polynomial", ["0", "1", "2", "3"])
def test_shares_are_the_values_computed_by_hand(polynomial: str) -> None:
    known = {int(r[2]): unhex(r[3]) for r in rows("shamir.txt") if r[0] == polynomial}
    threshold = next(int(r[1]) for r in rows("shamir.txt") if r[0] == polynomial)
    secret = known.pop(0)
    drawn = iter(
        hashlib.sha256(f"{polynomial} {k}".encode()).digest() + b"\0" for k in range(1, threshold)
    )

    shares = split(secret, threshold, sorted(known), lambda _num: next(drawn))

    assert {share.x: share.to_bytes() for share in shares} == known
    assert combine([Share.from_bytes(x, y) for x, y in known.items()], threshold) == secret


def test_the_number_of_shamirs_field_is_prime() -> None:
    """Miller and Rabin, 64 bases; a composite passes one with probability below 1/4."""
    odd, twos = PRIME - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in range(2, 66):
        powers = [pow(base, odd << k, PRIME) for k in range(twos)]
        assert powers[0] == 1 or PRIME - 1 in powers


@functools.cache
def printed(which: str) -> str:
    """Run the script by itself: isolated, so it cannot import ours."""
    script = str(HERE / "secagg_keys_by_hand.py")
    command = [sys.executable, "-I", script, which]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(("which", "file"), [("keys", "secagg_keys.txt"), ("shamir", "shamir.txt")])
def test_the_script_that_made_the_answers_makes_them_again(which: str, file: str) -> None:
    assert printed(which) == (HERE / file).read_text()
