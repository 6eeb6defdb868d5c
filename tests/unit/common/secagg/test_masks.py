"""Masks add up to what is left of them: Bonawitz et al. 2017, figure 4, rounds 2 and 4.

Round 2: y_u = x_u + PRG(b_u) + the sum of +-PRG(s_uv) over U2. Round 4: from the sum of y_u over U3
the server takes PRG(b_u) of U3, and what U3 shares with those of U2 who were lost.
"""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.ids import WorkerId
from common.packing import pack
from common.scales import levels
from common.secagg.masks import Masks, member_masks, remaining_masks
from common.secagg.ring import Ring
from common.secagg.streams import Stream
from common.shards import SHARD_BYTES

WIDTHS = (4, 8, 12, 16, 32)
PART_BYTES = 96
MODULUS = 2**64


def seed(*what: object) -> bytes:
    return hashlib.sha256(repr(what).encode()).digest()


def names(num_members: int) -> list[WorkerId]:
    return [WorkerId(f"w{i:02}") for i in range(num_members)]


def pair(a: WorkerId, b: WorkerId) -> bytes:
    return seed("pair", min(a, b), max(a, b))


def own(ring: Ring, name: WorkerId, members: list[WorkerId]) -> Masks:
    return member_masks(
        ring, name, seed("self", name), {o: pair(name, o) for o in members if o != name}
    )


def left(ring: Ring, survivors: list[WorkerId], members: list[WorkerId]) -> Masks:
    lost = [m for m in members if m not in survivors]
    return remaining_masks(
        ring,
        {s: seed("self", s) for s in survivors},
        {j: {s: pair(j, s) for s in survivors} for j in lost},
    )


def packed(q: np.ndarray, bits: int) -> bytes:
    return q.astype("<i4").tobytes() if bits == 32 else pack(q.astype(np.int32), bits)


Tags = tuple[int, int]


def added(tags: Tags, more: tuple[int, ...]) -> Tags:
    one, two = ((a + b) % MODULUS for a, b in zip(tags, more, strict=True))
    return one, two


def check_a_round(
    bits: int,
    num_members: int,
    survivors: list[WorkerId],
    offset: int = 0,
    num_bytes: int = PART_BYTES,
) -> None:
    """Survivors' masked values, side values and tags minus what remains must be the plain sums."""
    ring, members = Ring(bits), names(num_members)
    most = levels(bits, num_members)
    draw = np.random.default_rng([bits, num_members, len(survivors)])
    total, plain = ring.empty_sum(num_bytes), np.zeros(num_bytes * 8 // bits, np.int64)
    side, plain_head = np.zeros(PART_BYTES, np.uint8), np.zeros(3, np.uint64)
    plain_rest = np.zeros((PART_BYTES - 24) // 4, np.uint32)
    tags, plain_tags = (0, 0), (0, 0)
    for name in survivors:
        masks = own(ring, name, members)
        q = draw.integers(-most, most + 1, len(plain))
        words = ring.words(packed(q, bits))
        masks.add(words, offset)
        ring.add_received(total, ring.sent(words))
        plain += q

        head, rest = draw.integers(0, 2**41, 3, np.uint64), draw.integers(0, 2**25, 18, np.uint32)
        content = np.frombuffer(head.tobytes() + rest.tobytes(), np.uint8).copy()
        masks.add_side_values(content, 0)
        side[:24].view("<u8")[:] += content[:24].view("<u8")
        side[24:].view("<u4")[:] += content[24:].view("<u4")
        plain_head, plain_rest = plain_head + head, plain_rest + rest

        own_tags = tuple(draw.integers(0, MODULUS, 2, np.uint64, endpoint=False).tolist())
        tags = added(tags, masks.add_tags(3, own_tags))
        plain_tags = added(plain_tags, own_tags)

    remaining = left(ring, survivors, members)
    remaining.subtract(total, offset)
    remaining.subtract_side_values(side, 0)

    assert ring.payload(total) == packed(plain, bits)
    assert side.tobytes() == plain_head.tobytes() + plain_rest.tobytes()
    assert remaining.subtract_tags(3, tags) == plain_tags


@pytest.mark.parametrize(
    ("bits", "num_members"),
    [(b, k) for b in WIDTHS for k in (*range(3, 17), 50) if levels(b, k) >= 1],
)
def test_what_all_members_send_adds_up_exactly(bits: int, num_members: int) -> None:
    check_a_round(bits, num_members, names(num_members))


@pytest.mark.parametrize("num_members", [3, 4, 5, 6])
def test_after_any_losses_down_to_the_threshold_it_still_does(num_members: int) -> None:
    members = names(num_members)
    threshold = max(3, num_members // 2 + 1)
    for size in range(threshold, num_members + 1):
        for survivors in itertools.combinations(members, size):
            for bits in WIDTHS:
                check_a_round(bits, num_members, list(survivors))


@settings(max_examples=30)
@given(st.integers(7, 20), st.sampled_from([8, 12, 16, 32]), st.data())
def test_after_any_losses_of_larger_cohorts_too(num: int, bits: int, data: st.DataObject) -> None:
    members = names(num)
    size = data.draw(st.integers(num // 2 + 1, num))
    survivors = data.draw(st.permutations(members))[:size]
    offset = 48 * data.draw(st.integers(0, 2**20))

    check_a_round(bits, num, survivors, offset)


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_whole_shard_adds_up_across_tiles(bits: int) -> None:
    check_a_round(bits, 4, names(4)[1:], 5 * SHARD_BYTES, SHARD_BYTES)


@settings(max_examples=25)
@given(st.sampled_from(WIDTHS), st.data())
def test_each_part_is_masked_alike_whether_alone_or_with_others(
    bits: int, data: st.DataObject
) -> None:
    ring = Ring(bits)
    num_bytes = 48 * 3000
    whole = ring.empty_sum(num_bytes)
    own(ring, names(3)[1], names(3)).add(whole, 48)
    unit = 3 if bits == 12 else ring.word.itemsize
    start = unit * data.draw(st.integers(0, num_bytes // unit - 1))
    stop = unit * data.draw(st.integers(start // unit + 1, num_bytes // unit))
    part = ring.empty_sum(stop - start)

    own(ring, names(3)[1], names(3)).add(part, 48 + start)

    first = ring.stream_offset(start) // ring.word.itemsize
    assert np.array_equal(part, whole[first : first + len(part)])


def test_each_part_of_the_side_values_is_masked_alike() -> None:
    whole = np.zeros(480, np.uint8)
    own(Ring(8), names(3)[0], names(3)).add_side_values(whole, 0)

    for start, stop in ((0, 48), (48, 96), (8, 480), (24, 28), (472, 480), (16, 32)):
        part = np.zeros(stop - start, np.uint8)
        own(Ring(8), names(3)[0], names(3)).add_side_values(part, start)
        assert part.tobytes() == whole[start:stop].tobytes()


def test_a_mask_is_the_signed_sum_of_its_streams_in_python_integers() -> None:
    members = names(5)
    name = members[2]
    words = Ring(32).empty_sum(96)

    own(Ring(32), name, members).add(words, 48)

    def integers(of: bytes) -> list[int]:
        return Stream(of, "data").integers(6, 12).view("<u4").tolist()

    rows = [integers(seed("self", name))]
    rows += [integers(pair(name, o)) for o in members[3:]]
    rows += [[-v for v in integers(pair(name, o))] for o in members[:2]]
    assert words.tolist() == [sum(column) % 2**32 for column in zip(*rows, strict=True)]


def test_without_one_survivors_mask_nothing_can_be_read() -> None:
    ring, members = Ring(16), names(4)
    total = ring.empty_sum(SHARD_BYTES)
    for name in members:
        words = ring.empty_sum(SHARD_BYTES)
        own(ring, name, members).add(words, 0)
        total += words
    remaining_masks(ring, {m: seed("self", m) for m in members[1:]}, {}).subtract(total, 0)

    hidden = total.astype(np.float64)
    assert abs(hidden.mean() / 2**15 - 1) < 0.01
    assert abs(np.bincount(total & 0xFF, minlength=256).std() / np.sqrt(len(total) / 256) - 1) < 0.3


def test_masks_that_cannot_be_meant_are_refused() -> None:
    a, b = names(2)
    with pytest.raises(ValueError, match="with itself"):
        member_masks(Ring(8), a, seed(1), {a: seed(2)})
    with pytest.raises(ValueError, match="to be lost"):
        remaining_masks(Ring(8), {a: seed(1)}, {a: {a: seed(2)}})
    with pytest.raises(ValueError, match="every survivor"):
        remaining_masks(Ring(8), {a: seed(1)}, {b: {}})
    with pytest.raises(ValueError, match="words are int32, must be uint8"):
        own(Ring(8), a, [a, b]).add(np.zeros(48, np.int32), 0)
    with pytest.raises(ValueError, match="a shard has 2"):
        own(Ring(8), a, [a, b]).add_tags(0, (1,))
