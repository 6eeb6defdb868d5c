from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadKeyError
from common.secagg.keys import (
    EncPublicKey,
    EncSecretKey,
    MaskPublicKey,
    MaskSecretKey,
    SelfSeed,
    ShareKey,
    kappa,
    pair_seed,
    self_seed,
    share_key,
)
from common.secagg.labels import Context, PlanHash

PH, CTX = PlanHash(b"p" * 32), Context(b"c" * 32)
OTHER_PH, OTHER_CTX = PlanHash(b"q" * 32), Context(b"d" * 32)

FIELD = 2**255 - 19
SMALL_ORDER = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    FIELD - 1,
)
"""The points of order 1, 2, 4 and 8 of Curve25519 and of its twist."""

secrets32 = st.binary(min_size=32, max_size=32)


def named_apart(keys: Iterable[bytes]) -> bool:
    found = list(keys)
    return len(set(found)) == len(found)


@given(secrets32, secrets32)
def test_both_members_derive_the_same_keys(a: bytes, b: bytes) -> None:
    enc_a, enc_b, mask_a, mask_b = (
        EncSecretKey(a),
        EncSecretKey(b),
        MaskSecretKey(a),
        MaskSecretKey(b),
    )

    assert share_key(enc_a, enc_b.public, PH, "aws", "gcp") == share_key(
        enc_b, enc_a.public, PH, "aws", "gcp"
    )
    assert pair_seed(mask_a, mask_b.public, CTX, "aws", "gcp") == pair_seed(
        mask_b, mask_a.public, CTX, "gcp", "aws"
    )


def test_every_direction_plan_and_name_has_a_share_key_of_its_own() -> None:
    own, other = EncSecretKey(b"1" * 32), EncSecretKey(b"2" * 32).public
    assert named_apart(
        share_key(own, other, *about).to_bytes()
        for about in (
            (PH, "aws", "gcp"),
            (PH, "gcp", "aws"),
            (PH, "aws", "gcq"),
            (PH, "awsg", "cp"),
            (OTHER_PH, "aws", "gcp"),
        )
    )


def test_every_context_and_pair_has_a_seed_of_its_own() -> None:
    own, other = MaskSecretKey(b"1" * 32), MaskSecretKey(b"2" * 32).public
    assert named_apart(
        pair_seed(own, other, *about).to_bytes()
        for about in ((CTX, "aws", "gcp"), (CTX, "aws", "gcq"), (OTHER_CTX, "aws", "gcp"))
    )


def test_every_member_context_and_b_has_a_self_seed_of_its_own() -> None:
    assert named_apart(
        self_seed(*of).to_bytes()
        for of in (
            (b"1" * 32, CTX, "aws"),
            (b"2" * 32, CTX, "aws"),
            (b"1" * 32, OTHER_CTX, "aws"),
            (b"1" * 32, CTX, "gcp"),
        )
    )


def test_kappa_takes_its_parts_by_name_and_depends_on_each() -> None:
    parts = {"aws": b"1" * 32, "azure": b"2" * 32, "gcp": b"3" * 32}
    assert kappa(parts, CTX) == kappa(dict(reversed(parts.items())), CTX)
    changed = [parts | {name: b"4" * 32} for name in parts]
    swapped = parts | {"aws": parts["gcp"], "gcp": parts["aws"]}
    found = [kappa(p, CTX).to_bytes() for p in (parts, *changed, swapped)]
    assert named_apart([*found, kappa(parts, OTHER_CTX).to_bytes()])


@pytest.mark.parametrize("u", SMALL_ORDER)
def test_a_key_that_gives_zeros_is_refused_and_the_members_named(u: int) -> None:
    content = u.to_bytes(32, "little")
    with pytest.raises(BadKeyError, match="aws and gcp gives zeros"):
        share_key(EncSecretKey(b"1" * 32), EncPublicKey(content), PH, "aws", "gcp")
    with pytest.raises(BadKeyError, match="aws and gcp gives zeros"):
        pair_seed(MaskSecretKey(b"1" * 32), MaskPublicKey(content), CTX, "aws", "gcp")


@pytest.mark.parametrize("u", [FIELD, FIELD + 9, 2**255 + 9, 2**256 - 1])
def test_a_second_encoding_of_a_key_is_refused(u: int) -> None:
    with pytest.raises(BadKeyError, match="not reduced"):
        MaskPublicKey(u.to_bytes(32, "little"))


@given(secrets32)
def test_every_key_that_we_make_is_one_that_we_accept(secret: bytes) -> None:
    public = EncSecretKey(secret).public
    assert EncPublicKey(public.to_bytes()) == public


@pytest.mark.parametrize("num", [0, 31, 33])
def test_sizes_are_checked(num: int) -> None:
    with pytest.raises(BadKeyError, match=f"32 bytes, this one {num}"):
        EncPublicKey(bytes(num))
    too_short: list[Callable[[], object]] = [
        lambda: EncSecretKey(bytes(num)),
        lambda: MaskSecretKey.generate(lambda _: bytes(num)),
        lambda: self_seed(bytes(num), CTX, "aws"),
        lambda: self_seed(bytes(32), Context(bytes(num)), "aws"),
        lambda: kappa({"aws": bytes(num)}, CTX),
    ]
    for make in too_short:
        with pytest.raises(ValueError, match=rf"\b{num}\b"):
            make()


def test_a_member_has_no_key_with_itself() -> None:
    own, mask = EncSecretKey(b"1" * 32), MaskSecretKey(b"1" * 32)
    with pytest.raises(ValueError, match="itself"):
        share_key(own, own.public, PH, "aws", "aws")
    with pytest.raises(ValueError, match="itself"):
        pair_seed(mask, mask.public, CTX, "aws", "aws")


def test_a_new_key_is_what_the_random_source_gave() -> None:
    asked = []

    def random(num: int) -> bytes:
        asked.append(num)
        return b"7" * num

    assert MaskSecretKey.generate(random).to_bytes() == b"7" * 32
    assert asked == [32]


def test_secrets_are_not_printed() -> None:
    seed = self_seed(b"1" * 32, CTX, "aws")
    for secret in (MaskSecretKey(b"S" * 32), EncSecretKey(b"S" * 32), ShareKey(b"S" * 32)):
        assert "SS" not in f"{secret!r} {secret!s}"
    assert seed.to_bytes().hex() not in repr(seed)
    assert repr(seed.to_bytes())[2:10] not in repr(seed)


def test_equal_bytes_for_another_use_are_another_key() -> None:
    assert ShareKey(b"1" * 32) == ShareKey(b"1" * 32)
    assert ShareKey(b"1" * 32) != ShareKey(b"2" * 32)
    assert ShareKey(b"1" * 32) != SelfSeed(b"1" * 32)
    assert EncPublicKey(b"1" * 32) != MaskPublicKey(b"1" * 32)


def test_an_enc_key_has_no_bytes_to_give_away() -> None:
    assert hasattr(MaskSecretKey(b"1" * 32), "to_bytes")
    assert not hasattr(EncSecretKey(b"1" * 32), "to_bytes")
