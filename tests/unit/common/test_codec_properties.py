"""What holds of every codec, whatever is sent: unbiased, no wrap, and nothing lost on the way.

Updates go the whole way: `worker.rounds.update` on one side, aggregate and decoding on the other.
"""

from dataclasses import replace
from itertools import repeat

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.codec.dense import Dense
from common.codec.loops import rotate
from common.codec.noise import Noise
from common.documents import Codec, Outer
from common.errors import BrokenUpdateError
from common.ids import WorkerId
from common.packing import WIDTHS, unpack
from common.rotation import rotation_signs
from common.scales import energy, levels, round_scales
from common.schema import BLOCK, ModelSchema, TensorSpec
from common.secagg.ring import Ring
from common.shards import unpack_side_values
from common.terms import RINGS
from coordinator.sums.aggregate import aggregate
from tests.rig.rounds.small_run import (
    SEED,
    TLS,
    Run,
    bytes_of,
    random_vector,
    values_of,
    zero_padded,
)
from worker.rounds.update import Sources, measure, shards

SCHEMA = ModelSchema((TensorSpec("w", (4 * BLOCK - 50,)),), (TensorSpec("m", (9,)),))
AWS = WorkerId("aws")
CODECS = (
    *(Codec("dense", bits, bits) for bits in WIDTHS),
    Codec("cyclic", 8, 8, one_in=2),
    Codec("randk", 8, 8, one_in=2),
    Codec("heavy", 8, 8, one_in=2),
    Codec("topk", 2, 2, one_in=64),
    Codec("float32", 32, 32),
)
SPECIAL = {
    "zero": 0.0,
    "constant": 0.01,
    "huge": 2.0**50,
    "tiny": 1e-30,
    "denormal": 1e-42,
    "the least": 5e-45,
}
named = pytest.mark.parametrize("codec", CODECS, ids=lambda c: f"{c.kind}-{c.bits}")


def run_with(codec: Codec) -> Run:
    algorithm = replace(TLS, codec=replace(codec, residual_decay=1.0), clipping=False)
    return Run(replace(algorithm, outer=Outer("sgd", 1.0, 0.0)), SCHEMA, random_vector(SCHEMA, 0))


def moved(run: Run, difference: np.ndarray) -> dict[WorkerId, np.ndarray]:
    return dict.fromkeys(run.workers, run.theta() - difference)


@pytest.mark.parametrize("codec", CODECS[:7], ids=lambda c: f"{c.kind}-{c.bits}")
def test_the_mean_of_a_cohort_is_unbiased_where_nothing_saturates(codec: Codec) -> None:
    run, num = run_with(codec), 24
    terms = run.terms(run.plan())
    assert isinstance(terms.codec, Dense)
    blocks, step = terms.selection.blocks, terms.codec.step[0]
    difference = random_vector(SCHEMA, 1, 0.1 * terms.codec.levels * step)
    total = np.zeros((len(blocks), BLOCK))

    for seed in range(num):
        run.residuals.clear()
        _, content = run.commit(moved(run, difference), seed=seed)
        sum_v = 4 * terms.weights.v[AWS]
        total += terms.codec.mean(0, len(blocks), content[: terms.layout.data_bytes], sum_v)

    base = run.theta().reshape(-1, BLOCK)
    true = (base - (base - difference.reshape(-1, BLOCK))).astype(np.float64)[blocks]
    off = total / num - true
    deviation = 0.5 * step / np.sqrt(4 * num)  # of one value, at most
    assert np.abs(off).max() < 5.5 * deviation
    assert abs(np.vdot(off, true)) < 4 * deviation * np.linalg.norm(true)
    assert np.sqrt(np.mean(off**2)) < 1.02 * deviation


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[int, list[int]]:
    """A ring, and how often each of three updates is in a sum; K up to what the ring holds."""
    bits = draw(st.sampled_from(WIDTHS))
    most = min(2 ** (bits - 1) - 1, 200)
    counts = draw(st.lists(st.integers(0, most), min_size=3, max_size=3))
    while sum(counts) > most:
        counts = [n // 2 for n in counts]
    return bits, counts if sum(counts) else [1, 0, 0]


@settings(max_examples=25, deadline=None)
@given(cohorts(), st.integers(0, 2**32), st.sampled_from([1e-30, 1.0, 3.0, 100.0, 1e15]))
@example((4, [7, 0, 0]), 0, 1e15)
@example((8, [127, 0, 0]), 0, 1e15)
@example((12, [1000, 1047, 0]), 0, 1e15)
@example((16, [3000, 3000, 3000]), 0, 100.0)
def test_no_sum_wraps_whatever_its_members_send(
    cohort: tuple[int, list[int]], seed: int, size: float
) -> None:
    bits, counts = cohort
    num = sum(counts)
    codec = Dense(bits, num, 3.5, round_scales(np.ones(1, np.float32), 1.0, num), rotation_signs(1))
    rng, ring = np.random.default_rng(seed), Ring(bits)
    total, words = codec.total(1), ring.empty_sum(BLOCK * bits // 8)
    true = np.zeros(BLOCK, np.int64)
    for i, count in enumerate(counts):
        x = (size * rng.standard_normal((1, BLOCK))).astype(np.float32)
        payload = bytearray(BLOCK * bits // 8)
        codec.encoder(1.0, 1.0, Noise(bytes([i]) * 16)).encode(0, x, None, payload)
        q = unpack(bytes(payload), bits).astype(np.int64)
        assert np.abs(q).max() <= levels(bits, num)
        true += count * q
        for same in repeat(bytes(payload), count):
            total = codec.add(total, same)
            ring.add_received(words, ring.sent(ring.words(same)))

    assert np.array_equal(unpack(codec.pack(total), bits), true)
    assert ring.payload(words) == codec.pack(total)  # as masked sums are taken


@named
@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("alone", [False, True], ids=["all", "one value"])
def test_special_updates_are_sent_or_kept(codec: Codec, kind: str, alone: bool) -> None:
    run = run_with(codec)
    terms = run.terms(run.plan())
    difference = np.full(SCHEMA.length, SPECIAL[kind], np.float32)
    if alone:
        difference[np.arange(SCHEMA.length) % BLOCK != 7] = 0
    difference = zero_padded(SCHEMA, difference)
    work = Sources(values_of(np.zeros(SCHEMA.length, np.float32)), values_of(-difference))
    kept = np.zeros(SCHEMA.length, np.float32)

    def keep(start: int, values: np.ndarray) -> None:
        kept[start : start + len(values)] = values

    plain = shards(terms, AWS, work, measure(terms, work), keep, bytes(16), 0)
    payload = b"".join(plain)
    spooled = payload[: terms.layout.data_bytes].ljust(terms.layout.side_offset, b"\0")
    spooled += payload[terms.layout.data_bytes :]
    content = bytearray()
    aggregate(terms, {AWS: bytes_of(spooled)}, content.extend)

    blocks = terms.selection.blocks
    y = terms.weights.wire(AWS) * difference.reshape(-1, BLOCK)[blocks]
    mean = terms.codec.mean(0, len(blocks), bytes(content[: terms.layout.data_bytes]), 65535)
    e = kept.reshape(-1, BLOCK)[blocks]
    if codec.kind in RINGS:  # back from the residual's coordinates
        signs = rotation_signs(SEED)
        e = signs * rotate(e.copy(), np.ones(BLOCK, np.float32))
    assert np.isfinite(kept).all()
    assert np.isfinite(mean).all()
    largest = max(np.abs(y).max(), np.abs(mean).max())
    np.testing.assert_allclose(mean + e, y, rtol=1e-5, atol=2e-6 * largest + 1e-40)
    section = spooled[terms.layout.side_offset :]
    _, z = unpack_side_values(section, terms.layout)
    assert (z <= terms.scales.energy_cap).all()
    if SPECIAL[kind] < 1e-20:
        assert not z.any()
    if kind == "huge":
        assert (z == terms.scales.energy_cap).all()


@named
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 2.0**61])
def test_what_is_not_finite_or_absurd_is_never_sent(codec: Codec, value: float) -> None:
    run = run_with(codec)
    terms = run.terms(run.plan())
    theta = run.theta()
    theta[int(terms.selection.blocks[-1]) * BLOCK + 1] = value
    with pytest.raises(BrokenUpdateError, match="difference's length"):
        measure(terms, Sources(values_of(run.theta()), values_of(theta)))


@pytest.mark.parametrize("codec", CODECS[4:7], ids=lambda c: c.kind)
@pytest.mark.parametrize("value", [3e38, np.inf, np.nan])
def test_what_is_absurd_in_a_block_that_stays_is_refused_when_it_travels(
    codec: Codec, value: float
) -> None:
    run = run_with(codec)
    terms = run.terms(run.plan())
    sound, theta, block = run.theta(), run.theta(), int(terms.selection.rest[0])
    theta[block * BLOCK : (block + 1) * BLOCK] = value * np.resize([1, -1], BLOCK)

    assert run.payload(terms, AWS, theta)[0] == run.payload(terms, AWS, sound)[0]


def test_energy_has_its_cap_where_a_square_is_no_number() -> None:
    assert energy(np.array([np.nan, np.inf, 15.9], np.float32), 1000).tolist() == [1000, 1000, 1]
