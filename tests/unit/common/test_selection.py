"""Which blocks travel, and that what does not stays as it is."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import canonical
from common.chain import advance
from common.codec import cyclic, heavy, randk
from common.codec.selection import Selection, runs
from common.documents import Algorithm, Codec, Outer
from common.schema import BLOCK, SEGMENT, ModelSchema, TensorSpec
from common.shards import unpack_side_values
from common.terms import round_layout
from tests.rig.rounds.small_run import TLS, Blobs, Run, bytes_of, random_vector

WIDE = ModelSchema((TensorSpec("w", (300, 1000)), TensorSpec("v", (7,))), (TensorSpec("m", (9,)),))
CODECS = (
    Codec("cyclic", 8, 16, one_in=3),
    Codec("cyclic", 4, 8, one_in=7),
    Codec("randk", 8, 8, one_in=4),
    Codec("heavy", 8, 8, one_in=5),
)


FILLED = WIDE.parameter_values // BLOCK
"""Blocks before this one are full."""


def algorithm(codec: Codec, kind: str = "sgd") -> Algorithm:
    momentum = 0.0 if kind == "sgd" else 0.8
    return replace(TLS, codec=codec, outer=Outer(kind, 1.0, momentum))


def moved(run: Run, seed: int, size: float = 0.01) -> dict:
    return {
        w: run.theta() - random_vector(run.schema, 100 * seed + i, size)
        for i, w in enumerate(run.workers)
    }


@given(st.integers(1, 400), st.sampled_from([2, 3, 5, 7, 11]), st.integers(0, 9))
def test_fragments_share_the_blocks_out_and_have_the_size_of_the_formula(
    num_blocks: int, one_in: int, seed: int
) -> None:
    found = [cyclic.selected(num_blocks, one_in, f, seed).blocks for f in range(one_in)]

    assert sorted(np.concatenate(found).tolist()) == list(range(num_blocks))
    assert [len(b) for b in found] == [
        cyclic.num_sent(num_blocks, one_in, f) for f in range(one_in)
    ]
    of_block = cyclic.fragments(num_blocks, one_in, seed)
    assert all((of_block[b] == f).all() for f, b in enumerate(found))


def test_a_fragment_has_blocks_of_every_region() -> None:
    blocks = cyclic.selected(800, 5, 2, 0).blocks
    assert all(((blocks >= a) & (blocks < a + 100)).any() for a in range(0, 800, 100))


def test_random_blocks_are_new_in_every_round_and_the_same_for_everybody() -> None:
    first, again, second = (randk.selected(100, 4, 7, commits).blocks for commits in (1, 1, 2))
    assert first.tolist() == again.tolist() != second.tolist()
    assert len(set(first.tolist())) == 25
    assert len(randk.selected(3, 8, 7, 0).blocks) == 1


def test_heavy_blocks_are_those_with_the_largest_scales() -> None:
    scales = np.arange(20, dtype=np.float32)
    assert heavy.selected(scales, 4, 0).blocks.tolist() == [15, 16, 17, 18, 19]
    even = heavy.selected(np.ones(200, np.float32), 4, 0).blocks
    assert even.tolist() != list(range(50))  # of equal ones not simply the first layer


@given(st.sets(st.integers(0, 600), min_size=1))
def test_runs_cover_the_blocks_in_order_and_stay_in_a_segment(chosen: set[int]) -> None:
    blocks = np.array(sorted(chosen))
    spans = list(runs(blocks))
    covered = [b for start, stop in spans for b in range(start // BLOCK, stop // BLOCK)]
    assert covered == blocks.tolist()
    assert all(start // SEGMENT == (stop - 1) // SEGMENT for start, stop in spans)
    assert len(spans) <= len(blocks)


def test_what_does_not_travel_is_the_rest() -> None:
    selection = Selection(np.array([1, 4]), 6)
    assert selection.rest.tolist() == [0, 2, 3, 5]
    assert selection.within(BLOCK, 4 * BLOCK) == (0, 1)


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: f"{c.kind}-{c.one_in}")
@pytest.mark.parametrize("kind", ["sgd", "nesterov"])
def test_only_what_travels_moves_and_replicas_agree(codec: Codec, kind: str) -> None:
    run = Run(algorithm(codec, kind), WIDE)
    replica, at = Blobs(dict(run.blobs.files)), run.version
    for seed in range(2 * codec.one_in):
        before, plan = run.theta().reshape(-1, BLOCK), run.plan()
        sent = run.terms(plan).selection.blocks
        commit, content = run.commit(moved(run, seed), live_speed=20, seed=seed)
        run.advance(commit, content)
        at = advance(run.genesis, at, commit, bytes_of(content), replica.read, replica.write)

        changed = (run.theta().reshape(-1, BLOCK) != before).any(axis=1)
        assert set(np.flatnonzero(changed)) <= set(sent.tolist())
        assert changed[sent[:-1]].all()  # the last block may be padding

    assert canonical.digest(at) == canonical.digest(run.version)
    assert all(replica.files[d] == run.blobs.files[d] for d in at.blobs())


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: f"{c.kind}-{c.one_in}")
def test_an_upload_has_the_bytes_of_the_formula(codec: Codec) -> None:
    run = Run(algorithm(codec), WIDE)
    for seed in range(codec.one_in):
        plan = run.plan()
        layout = round_layout(run.genesis, plan.bits, plan.fragment)
        payload, _ = run.payload(run.terms(plan), run.workers[0], run.theta())
        commit, content = run.commit(moved(run, seed), seed=seed)

        assert layout == run.terms(plan).layout
        assert len(payload) == layout.total_bytes
        num_sent = len(run.terms(plan).selection.blocks)
        assert layout.data_bytes == num_sent * BLOCK * plan.bits // 8
        assert len(content) == layout.aggregate_bytes(4) == commit.aggregate_bytes
        run.advance(commit, content)


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: f"{c.kind}-{c.one_in}")
def test_the_residual_of_what_does_not_travel_stays(codec: Codec) -> None:
    run = Run(algorithm(codec), WIDE)
    worker, residual = run.workers[0], random_vector(WIDE, 3, 1e-3)
    run.residuals[worker] = residual
    terms = run.terms(run.plan())

    _, kept = run.payload(terms, worker, run.theta() - random_vector(WIDE, 4, 1e-2))

    rest = terms.selection.rest
    assert np.array_equal(kept.reshape(-1, BLOCK)[rest], residual.reshape(-1, BLOCK)[rest])
    assert (kept.reshape(-1, BLOCK) != residual.reshape(-1, BLOCK))[terms.selection.blocks].any()


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: f"{c.kind}-{c.one_in}")
def test_an_upload_says_nothing_of_what_does_not_travel(codec: Codec) -> None:
    """Its work travels in a later round: told in this one as well, it would stand in two sums."""
    run = Run(algorithm(codec), WIDE)
    worker, theta = run.workers[0], run.theta() - random_vector(WIDE, 4, 0.01)
    run.residuals[worker] = random_vector(WIDE, 3, 1e-3)
    terms = run.terms(run.plan())
    payload, _ = run.payload(terms, worker, theta)

    for size in (0.0, 1.0, 1e30):
        for vector in (theta, run.residuals[worker]):
            blocks = vector.reshape(-1, BLOCK)
            blocks[terms.selection.rest] = random_vector(WIDE, 5, size).reshape(-1, BLOCK)[
                terms.selection.rest
            ]
        assert run.payload(terms, worker, theta)[0] == payload


@pytest.mark.parametrize("codec", CODECS[2:], ids=lambda c: c.kind)
def test_the_scale_of_a_block_that_waits_grows_with_its_rounds(codec: Codec) -> None:
    run = Run(algorithm(codec), WIDE)
    waited = np.zeros(WIDE.num_blocks)  # rounds since a block travelled
    for seed in range(4 * codec.one_in):
        before = run.terms(run.plan()).scales
        sent, rest = run.terms(run.plan()).selection.blocks, run.terms(run.plan()).selection.rest
        assert before.drift.tolist() == (waited + 1).tolist()
        drift = 0.01 * (waited + 1) ** 0.75
        run.advance(*run.commit(moved_by(run, seed, drift), seed=seed))
        after = run.terms(run.plan()).scales
        waited += 1
        waited[sent] = 0

        known = rest[waited[rest] < seed + 1]
        expected = before.radius[known] * ((waited[known] + 1) / waited[known]) ** 0.75
        np.testing.assert_allclose(after.radius[known], expected, rtol=1e-6)
        filled = rest[rest < FILLED]
        expected = 0.01 * (waited[filled] + 1) ** 0.75
        np.testing.assert_allclose(after.radius[filled], expected, rtol=0.1)
        np.testing.assert_allclose(after.radius[sent[sent < FILLED]], 0.01, rtol=0.1)


def moved_by(run: Run, seed: int, drift: np.ndarray) -> dict:
    """Return thetas whose blocks lie about so far from the head, per value."""
    thetas = {}
    for i, worker in enumerate(run.workers):
        draw = random_vector(WIDE, 100 * seed + i).reshape(-1, BLOCK)
        thetas[worker] = run.theta() - (draw * drift[:, None]).astype(np.float32).reshape(-1)
    run.residuals.clear()
    return thetas


def test_a_later_fragment_is_expected_to_have_drifted_further() -> None:
    run = Run(algorithm(CODECS[0]), WIDE)
    scales = run.terms(run.plan()).scales.per_unit
    of_block = cyclic.fragments(WIDE.num_blocks, 3, run.genesis.seed)
    assert scales.tolist() == pytest.approx((0.3 * (1 + of_block)).tolist())


def test_with_every_fragment_sent_once_the_head_has_moved_by_the_drift() -> None:
    """Streaming DiLoCo (Douillard et al. 2025): one fragment after the other."""
    codec = Codec("cyclic", 16, 16, one_in=3, residual_decay=1.0)
    run = Run(algorithm(codec), WIDE)
    start, drift = run.theta(), random_vector(WIDE, 5, 0.01)
    for seed in range(3):
        run.advance(*run.commit(dict.fromkeys(run.workers, start - drift), seed=seed))

    np.testing.assert_allclose(run.theta(), start - drift, atol=2e-4)


def test_side_values_hold_every_block_that_travels() -> None:
    for codec in CODECS:
        run = Run(algorithm(codec), WIDE)
        terms = run.terms(run.plan())
        payload, _ = run.payload(terms, run.workers[0], run.theta() - random_vector(WIDE, 1))
        side = payload[terms.layout.side_offset :]
        _, energy = unpack_side_values(side, terms.layout)
        assert len(energy) == len(terms.selection.blocks)
        assert (energy[:-2] > 0).all()
