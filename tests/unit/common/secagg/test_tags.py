import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.documents import SideValues
from common.errors import BadCommitError, BadUpdateError
from common.ids import WorkerId
from common.packing import pack
from common.scales import levels
from common.schema import BLOCK
from common.secagg.streams import Stream
from common.secagg.tags import MODULUS, Pads, Tagger, check_public, check_secret, member_tags
from common.shards import SHARD_BYTES, PayloadLayout, pack_side_values

WIDTHS = (4, 8, 12, 16, 32)
PUBLIC = bytes(32)
KAPPA = hashlib.sha256(b"kappa").digest()
NAMES = [WorkerId(n) for n in ("aws", "azure", "gcp", "own")]


def packed(q: np.ndarray, bits: int) -> bytes:
    return q.astype("<i4").tobytes() if bits == 32 else pack(q.astype(np.int32), bits)


def tag_in_python(seed: bytes, bits: int, first_value: int, q: list[int]) -> int:
    """Return what the module's docstring says, value by value, in Python's own integers."""
    values_per_word = {4: 4, 8: 2}.get(bits, 1)
    places = 512 if bits == 32 else 1024
    drawn = Stream(seed, "tag-place").integers(0, places).tolist()
    s = [d % 2**56 | 1 for d in drawn]
    last, total = first_value + len(q), 0
    r = Stream(seed, "tag-group").integers(0, last // (values_per_word * places) + 1).tolist()
    for i, value in enumerate(q):
        word, k = divmod(first_value + i, values_per_word)
        group, place = divmod(word, places)
        total += (r[group] | 1) * s[place] * 2 ** (bits * k) * value
    return total % MODULUS


def layout_of(bits: int, num_blocks: int) -> PayloadLayout:
    return PayloadLayout(num_blocks * BLOCK, bits)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("extreme", [None, -1, 0, 1])
def test_a_tag_is_the_big_integers_one(bits: int, extreme: int | None) -> None:
    blocks_per_shard = SHARD_BYTES * 8 // bits // BLOCK
    layout = layout_of(bits, blocks_per_shard + 2)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    q = np.random.default_rng(bits).integers(low, high + 1, 2 * BLOCK)
    if extreme is not None:
        q[:] = {-1: low, 0: 0, 1: high}[extreme]

    found = Tagger(layout, [PUBLIC, KAPPA]).tags(1, packed(q, bits))

    first = blocks_per_shard * BLOCK
    assert found == tuple(tag_in_python(s, bits, first, q.tolist()) for s in (PUBLIC, KAPPA))


@settings(max_examples=40)
@given(st.sampled_from(WIDTHS), st.integers(1, 7), st.integers(0, 2**32))
def test_the_sum_of_tags_is_the_tag_of_the_signed_sum(bits: int, num: int, seed: int) -> None:
    layout, most = layout_of(bits, 2), levels(bits, num)
    members = np.random.default_rng(seed).integers(-most, most + 1, (num, 2 * BLOCK))
    tagger = Tagger(layout, [PUBLIC, KAPPA])

    tags = [tagger.tags(0, packed(q, bits)) for q in members]

    total = tagger.tags(0, packed(members.sum(axis=0), bits))
    assert total == tuple(sum(column) % MODULUS for column in zip(*tags, strict=True))


def side_values_of(seed: int, num_blocks: int = 5) -> bytes:
    draw = np.random.default_rng(seed)
    energy = draw.integers(0, 2**29, num_blocks).astype(np.uint32)
    return pack_side_values(
        SideValues(int(draw.integers(1, 65536)), int(draw.integers(2**40)), 1), energy
    )


def added_side_values(contents: list[bytes]) -> bytes:
    heads = [np.frombuffer(c, "<u8", 3) for c in contents]
    rests = [np.frombuffer(c, "<u4", offset=24) for c in contents]
    return np.sum(heads, axis=0).tobytes() + np.sum(rests, axis=0, dtype=np.uint32).tobytes()


def test_the_tag_of_side_values_is_the_big_integers_one_and_linear() -> None:
    layout = layout_of(8, 5)
    contents = [side_values_of(i) for i in range(3)]
    tagger = Tagger(layout, [KAPPA])

    tags = [tagger.tags(1, c) for c in contents]

    a = Stream(KAPPA, "tag-side-values").integers(0, 3 + (layout.side_bytes - 24) // 4).tolist()
    numbers = np.frombuffer(contents[0], "<u8", 3).tolist()
    numbers += np.frombuffer(contents[0], "<u4", offset=24).tolist()
    assert tags[0] == (sum((x | 1) * y for x, y in zip(a, numbers, strict=True)) % MODULUS,)
    total = tagger.tags(1, added_side_values(contents))
    assert total == (sum(t[0] for t in tags) % MODULUS,)


def test_side_values_that_fill_more_than_one_shard_have_coefficients_of_their_own() -> None:
    layout = layout_of(4, SHARD_BYTES // 4 + 10)
    first = layout.num_shards - 2
    zeros = bytes(SHARD_BYTES)
    number = 3 + (SHARD_BYTES - 24) // 4

    assert layout.shard(first)[0] == layout.side_offset
    tagger = Tagger(layout, [KAPPA])
    content = bytearray(layout.shard(first + 1)[1])
    content[0] = 1
    assert tagger.tags(first, zeros) == (0,)
    assert tagger.tags(first + 1, content) == (
        int(Stream(KAPPA, "tag-side-values").integers(number, 1)[0]) | 1,
    )


class Round:
    """Four members' values, side values and tags, and the sums that a coordinator publishes."""

    def __init__(self, bits: int, survivors: list[WorkerId] = NAMES) -> None:
        self.layout, self.survivors, self.bits = layout_of(bits, 5), survivors, bits
        most, draw = levels(bits, len(NAMES)), np.random.default_rng(bits)
        self.q = {n: draw.integers(-most, most + 1, 5 * BLOCK) for n in survivors}
        side = {n: side_values_of(i) for i, n in enumerate(survivors)}
        self.members = Tagger(self.layout, [PUBLIC, KAPPA])
        self.public, self.secret = Tagger(self.layout, [PUBLIC]), Tagger(self.layout, [KAPPA])
        self.pads = Pads(KAPPA, NAMES)
        self.sums = [
            packed(np.sum(list(self.q.values()), axis=0), bits),
            added_side_values(list(side.values())),
        ]
        sent = [
            [
                member_tags(self.members, self.pads, n, shard, c)
                for n, c in (
                    (n, packed(self.q[n], bits) if shard == 0 else side[n]) for n in survivors
                )
            ]
            for shard in (0, 1)
        ]
        self.totals = [
            tuple(sum(column) % MODULUS for column in zip(*rows, strict=True)) for rows in sent
        ]

    def check(self, shard: int, content: bytes, public: int, secret: int) -> None:
        check_public(self.public, shard, content, public)
        check_secret(self.secret, self.pads, self.survivors, shard, content, secret)


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("survivors", [NAMES, NAMES[1:]])
def test_an_honest_sum_passes_both_checks(bits: int, survivors: list[WorkerId]) -> None:
    a_round = Round(bits, survivors)
    for shard in (0, 1):
        a_round.check(shard, a_round.sums[shard], *a_round.totals[shard])


@settings(max_examples=60)
@given(st.sampled_from(WIDTHS), st.sampled_from([0, 1]), st.integers(0))
def test_a_flipped_bit_is_found_and_the_shard_named(bits: int, shard: int, at: int) -> None:
    a_round = ROUNDS[bits]
    damaged = bytearray(a_round.sums[shard])
    at %= 8 * len(damaged)
    damaged[at // 8] ^= 1 << at % 8

    with pytest.raises(BadUpdateError, match=f"shard {shard}: (the sum is not|a side value is)"):
        check_public(a_round.public, shard, damaged, a_round.totals[shard][0])
    with pytest.raises(BadCommitError, match=f"shard {shard}: (the published sum|a side value is)"):
        check_secret(a_round.secret, a_round.pads, NAMES, shard, damaged, a_round.totals[shard][1])


ROUNDS = {bits: Round(bits) for bits in WIDTHS}


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_multiple_of_the_sum_passes_the_public_check_and_fails_the_secret_one(bits: int) -> None:
    a_round = ROUNDS[bits]
    half = {n: q // 2 for n, q in a_round.q.items()}
    total = packed(np.sum(list(half.values()), axis=0), bits)
    doubled = packed(2 * np.sum(list(half.values()), axis=0), bits)
    tags = [
        member_tags(a_round.members, a_round.pads, n, 0, packed(q, bits)) for n, q in half.items()
    ]
    public, secret = (sum(column) % MODULUS for column in zip(*tags, strict=True))

    a_round.check(0, total, public, secret)
    check_public(a_round.public, 0, doubled, 2 * public % MODULUS)
    for forged in (secret, 2 * secret % MODULUS):
        with pytest.raises(BadCommitError, match="shard 0"):
            check_secret(a_round.secret, a_round.pads, NAMES, 0, doubled, forged)


def test_a_crafted_sum_with_a_crafted_tag_fails_although_the_tag_of_zero_is_known() -> None:
    a_round = ROUNDS[8]
    zeros = bytes(len(a_round.sums[0]))

    for forged in (0, a_round.totals[0][1]):
        with pytest.raises(BadCommitError, match="shard 0"):
            check_secret(a_round.secret, a_round.pads, NAMES, 0, zeros, forged)


def test_a_sum_is_bound_to_its_survivors_its_shard_and_its_kappa() -> None:
    a_round = ROUNDS[16]
    content, (_, secret) = a_round.sums[0], a_round.totals[0]
    other = hashlib.sha256(b"another").digest()
    others = Tagger(a_round.layout, [other])

    for tagger, pads, survivors in (
        (a_round.secret, a_round.pads, NAMES[1:]),
        (others, a_round.pads, NAMES),
        (a_round.secret, Pads(other, NAMES), NAMES),
    ):
        with pytest.raises(BadCommitError, match="shard 0"):
            check_secret(tagger, pads, survivors, 0, content, secret)


def test_values_that_change_places_are_found() -> None:
    a_round = ROUNDS[16]
    q = np.frombuffer(a_round.sums[0], "<i2").copy()
    for a, b in ((0, 1), (0, 1024), (3, 5 * BLOCK - 1)):
        moved = q.copy()
        moved[[a, b]] = moved[[b, a]]
        assert moved[a] != q[a]
        with pytest.raises(BadUpdateError, match="shard 0"):
            check_public(a_round.public, 0, moved.tobytes(), a_round.totals[0][0])


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_sum_that_wrapped_is_found(bits: int) -> None:
    layout, tagger = layout_of(bits, 1), Tagger(layout_of(bits, 1), [PUBLIC])
    high = 2 ** (bits - 1) - 1
    one = np.full(BLOCK, high)
    wrapped = np.full(BLOCK, 2 * high - 2**bits)
    (tag,) = tagger.tags(0, packed(one, bits))

    assert layout.shard(0) == (0, BLOCK * bits // 8)
    with pytest.raises(BadUpdateError, match="shard 0"):
        check_public(tagger, 0, packed(wrapped, bits), 2 * tag % MODULUS)


def test_a_padded_tag_hides_the_tag() -> None:
    a_round = ROUNDS[8]
    pads = {a_round.pads.pad(n, s) for n in NAMES for s in range(50)}

    assert len(pads) == len(NAMES) * 50
    assert a_round.pads.total(NAMES, 7) == sum(a_round.pads.pad(n, 7) for n in NAMES) % MODULUS


def test_a_shard_that_is_not_or_has_another_length_is_refused() -> None:
    tagger = Tagger(layout_of(8, 5), [PUBLIC])
    with pytest.raises(BadUpdateError, match="this update has shards 0 to 1"):
        tagger.tags(2, b"")
    with pytest.raises(BadUpdateError, match="has 1 bytes, must be 20480"):
        tagger.tags(0, b"\0")
