"""What members seal for each other: Bonawitz et al. 2017, figure 4, round 1 (e_uv)."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadShareError
from common.secagg.keys import ShareKey
from common.secagg.labels import PlanHash, fields, label
from common.secagg.sealing import SealedShares, seal, unseal
from common.secagg.shamir import PRIME, Share

KEY = ShareKey(b"k" * 32)
PH = PlanHash(b"p" * 32)
SHARES = SealedShares(Share(3, 5), Share(3, PRIME - 1), b"q" * 32)

values = st.integers(0, PRIME - 1)


@given(st.integers(1, 64), values, values, st.binary(min_size=32, max_size=32))
def test_the_receiver_gets_what_was_sealed(x: int, b: int, mask: int, kappa: bytes) -> None:
    shares = SealedShares(Share(x, b), Share(x, mask), kappa)
    sealed = seal(KEY, PH, "aws", "gcp", shares)
    assert len(shares.to_bytes()) == 98
    assert len(sealed) == 114
    assert unseal(KEY, PH, "aws", "gcp", sealed, x) == shares


@pytest.mark.parametrize("at", [0, 97, 98, 113])
def test_a_changed_bit_names_the_sender(at: int) -> None:
    sealed = bytearray(seal(KEY, PH, "aws", "gcp", SHARES))
    sealed[at] ^= 1
    with pytest.raises(BadShareError, match="what aws sealed for gcp does not open"):
        unseal(KEY, PH, "aws", "gcp", bytes(sealed), 3)


@pytest.mark.parametrize(
    ("key", "told", "sender", "receiver"),
    [
        (ShareKey(b"l" * 32), PH, "aws", "gcp"),
        (KEY, PlanHash(b"r" * 32), "aws", "gcp"),
        (KEY, PH, "azure", "gcp"),
        (KEY, PH, "aws", "azure"),
        (KEY, PH, "gcp", "aws"),
        (KEY, PH, "awsg", "cp"),
    ],
)
def test_it_opens_for_its_own_plan_sender_and_receiver_alone(
    key: ShareKey, told: PlanHash, sender: str, receiver: str
) -> None:
    sealed = seal(KEY, PH, "aws", "gcp", SHARES)
    with pytest.raises(BadShareError, match=f"what {sender} sealed"):
        unseal(key, told, sender, receiver, sealed, 3)


@pytest.mark.parametrize("num", [0, 15, 16, 113])
def test_what_is_too_short_names_the_sender(num: int) -> None:
    with pytest.raises(BadShareError, match="what aws sealed"):
        unseal(KEY, PH, "aws", "gcp", bytes(num), 3)


@pytest.mark.parametrize(
    ("plain", "problem"),
    [
        (PRIME.to_bytes(33, "little") + bytes(65), "not below"),
        (bytes(33) + PRIME.to_bytes(33, "little") + bytes(32), "not below"),
        (bytes(97), "97 bytes"),
        (bytes(99), "99 bytes"),
        (b"", "0 bytes"),
    ],
)
def test_a_sender_that_seals_what_is_no_share_is_named(plain: bytes, problem: str) -> None:
    data = fields(label("share"), PH, b"aws", b"gcp")
    sealed = ChaCha20Poly1305(KEY.to_bytes()).encrypt(bytes(12), plain, data)
    with pytest.raises(BadShareError, match=f"{problem}.*aws is broken"):
        unseal(KEY, PH, "aws", "gcp", sealed, 3)


def test_shares_for_two_receivers_are_not_sealed_together() -> None:
    with pytest.raises(ValueError, match="one receiver has one x"):
        SealedShares(Share(1, 5), Share(2, 5), bytes(32))
    with pytest.raises(ValueError, match="31 bytes"):
        SealedShares(Share(1, 5), Share(1, 5), bytes(31))


def test_what_is_sealed_is_not_printed() -> None:
    shown = repr(SealedShares(Share(1, 1234567), Share(1, 7654321), b"S" * 32))
    assert not any(secret in shown for secret in ("12345", "76543", "SS"))
