import math

import numpy as np
import pytest

from common.errors import BrokenUpdateError
from common.ids import WorkerId
from common.schema import ModelSchema, TensorSpec
from common.shards import SHARD_BYTES, unpack_side_values
from common.terms import Terms
from tests.rig.rounds.small_run import SMALL, WORKERS, Run, random_vector, values_of, with_codec
from worker.rounds.update import Lengths, Sources, measure, shards

KEY = bytes(16)
AWS = WorkerId("aws")


def difference(run: Run, vector: np.ndarray, residual: np.ndarray | None = None) -> Sources:
    carried = None if residual is None else values_of(residual)
    return Sources(values_of(run.theta()), values_of(run.theta() - vector), carried)


def encoded(terms: Terms, work: Sources, own_clip: float = math.inf) -> tuple[bytes, np.ndarray]:
    kept = np.zeros(terms.schema.length, np.float32)

    def keep(start: int, values: np.ndarray) -> None:
        kept[start : start + len(values)] = values

    lengths = measure(terms, work)
    plain = shards(terms, AWS, work, lengths, keep, KEY, 2**21, own_clip)
    return b"".join(plain), kept


def clipped_run(kind: str = "dense", bits: int = 16) -> tuple[Run, float]:
    """Return a run whose C is on, and the longest difference that it lets through."""
    run = Run(with_codec(kind, bits, residual_decay=0.9))
    for seed in range(5):
        thetas = {
            w: run.theta() - random_vector(SMALL, 10 * seed + i, 0.01)
            for i, w in enumerate(WORKERS)
        }
        run.advance(*run.commit(thetas))
    return run, run.version.clip * run.numbers()[AWS].lr_sum


def test_shards_have_the_lengths_that_the_layout_says() -> None:
    schema = ModelSchema((TensorSpec("w", (600_000,)),))
    for kind, bits in (("dense", 8), ("dense", 16), ("float32", 32)):
        run = Run(with_codec(kind, bits), schema)
        terms = run.terms(run.plan())
        work = difference(run, random_vector(schema, 1, 0.01))

        plain = list(shards(terms, AWS, work, measure(terms, work), lambda *_: None, KEY, 0))

        layout = terms.layout
        assert [len(p) for p in plain] == [layout.shard(i)[1] for i in range(layout.num_shards)]
        assert len(plain[0]) == min(SHARD_BYTES, layout.data_bytes)


def test_the_same_noise_key_gives_the_same_shards_and_another_key_others() -> None:
    run = Run()
    terms = run.terms(run.plan())
    theta = run.theta() - random_vector(SMALL, 1, 0.01)

    first, again, other = (run.payload(terms, AWS, theta, seed=s)[0] for s in (1, 1, 2))

    assert first == again
    assert first != other


def test_side_values_carry_v_loss_and_whether_c_clipped() -> None:
    run, longest = clipped_run()
    terms = run.terms(run.plan())
    short = random_vector(SMALL, 1, 1.0)
    short *= np.float32(0.5 * longest / np.linalg.norm(short))

    for factor, was_clipped in ((1, 0), (4, 1)):
        content, _ = encoded(terms, difference(run, np.float32(factor) * short))
        side, _ = unpack_side_values(content[-terms.layout.side_bytes :], terms.layout)
        assert (side.v, side.loss_2_20, side.clipped) == (65535, 2**21, was_clipped)


def test_an_own_clip_shortens_the_update_but_is_not_reported() -> None:
    run = Run(with_codec("float32", 32))
    terms = run.terms(run.plan())
    vector = random_vector(SMALL, 1, 1.0)
    own_clip = 5.0

    content, _ = encoded(terms, difference(run, vector), own_clip)

    sent = np.frombuffer(content[: terms.layout.data_bytes], "<f4")
    side, _ = unpack_side_values(content[-terms.layout.side_bytes :], terms.layout)
    assert np.linalg.norm(sent) == pytest.approx(own_clip * 0.04, rel=1e-4)
    assert side.clipped == 0


def test_a_clipped_update_is_forgotten_beyond_c_not_stored() -> None:
    run, longest = clipped_run("float32", 32)
    terms = run.terms(run.plan())

    content, kept = encoded(terms, difference(run, random_vector(SMALL, 1, 50.0)))

    sent = np.frombuffer(content[: terms.layout.data_bytes], "<f4")
    assert np.linalg.norm(sent) == pytest.approx(longest, rel=1e-4)
    assert not kept.any()


def test_the_residual_is_decayed_clipped_and_sent() -> None:
    run, longest = clipped_run()
    terms = run.terms(run.plan())
    nothing = np.zeros(SMALL.length, np.float32)
    residual = random_vector(SMALL, 3, 1.0)
    residual *= np.float32(0.5 * longest / np.linalg.norm(residual))

    for factor, expected in ((1, 0.45), (100, 0.9)):
        work = difference(run, nothing, np.float32(factor) * residual)
        content, kept = encoded(terms, work)
        sent = np.frombuffer(content[: terms.layout.data_bytes], "<i2").astype(np.float64)
        step = np.repeat(terms.codec.step, 4096)  # type: ignore[attr-defined]
        total = np.linalg.norm(sent * step + kept)
        assert total == pytest.approx(expected * longest, rel=1e-3)


def test_a_work_of_nothing_can_be_sent() -> None:
    run = Run()
    terms = run.terms(run.plan())

    content, kept = encoded(terms, difference(run, np.zeros(SMALL.length, np.float32)))

    assert not any(content[: terms.layout.data_bytes])
    assert not kept.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_a_broken_difference_is_named_and_never_encoded(value: float) -> None:
    run = Run()
    vector = random_vector(SMALL, 1)
    vector[4321] = value

    with pytest.raises(BrokenUpdateError, match="difference's length"):
        measure(run.terms(run.plan()), Sources(values_of(run.theta()), values_of(vector)))


def test_a_broken_residual_is_named() -> None:
    run = Run()
    vector = np.full(SMALL.length, np.nan, np.float32)

    with pytest.raises(BrokenUpdateError, match="residual's length"):
        measure(run.terms(run.plan()), difference(run, random_vector(SMALL, 1), vector))


def test_lengths_are_euclidean() -> None:
    run = Run()
    vector = random_vector(SMALL, 1)

    found = measure(run.terms(run.plan()), difference(run, vector))

    assert found == Lengths(found.difference, 0.0)
    assert found.difference == pytest.approx(np.linalg.norm(vector), rel=1e-4)
