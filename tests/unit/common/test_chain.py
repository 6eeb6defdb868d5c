from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from common import canonical
from common.chain import advance
from common.documents import Outer
from common.errors import BadCommitError, BadNumbersError, DamagedDataError
from common.ids import Digest, WorkerId
from common.schema import SEGMENT, ModelSchema, TensorSpec
from tests.rig.rounds.small_run import (
    NUMBERS,
    SMALL,
    WORKERS,
    Blobs,
    Run,
    bytes_of,
    random_vector,
    with_codec,
    zero_padded,
)

CODECS = [("dense", 8), ("dense", 12), ("dense", 16), ("float32", 32)]


def moved(run: Run, seed: int, size: float = 0.01) -> dict:
    return {
        w: run.theta() - random_vector(run.schema, 100 * seed + i, size)
        for i, w in enumerate(run.workers)
    }


@pytest.mark.parametrize(("kind", "bits"), CODECS)
def test_one_round_steps_along_the_weighted_mean(kind: str, bits: int) -> None:
    algorithm = replace(with_codec(kind, bits), outer=Outer("sgd", 0.6, 0.0))
    run = Run(algorithm)
    before, thetas = run.theta(), moved(run, 1)

    commit, content = run.commit(thetas)
    run.advance(commit, content)

    mean = before - np.mean([*thetas.values()], axis=0)
    p = SMALL.parameter_length
    tolerance = {8: 0.2, 12: 0.02, 16: 0.002, 32: 1e-4}[bits] * np.linalg.norm(mean)
    assert np.linalg.norm((before - run.theta() - 0.6 * mean)[:p]) < tolerance
    assert np.linalg.norm((before - run.theta() - mean)[p:]) < tolerance  # buffers: no eta


@pytest.mark.parametrize(("kind", "bits"), CODECS)
def test_two_replicas_get_the_same_version_and_the_same_files(kind: str, bits: int) -> None:
    run = Run(with_codec(kind, bits))
    replica, at = Blobs(dict(run.blobs.files)), run.version

    for seed in range(3):
        commit, content = run.commit(moved(run, seed), live_speed=20, seed=seed)
        run.advance(commit, content)
        at = advance(run.genesis, at, commit, bytes_of(content), replica.read, replica.write)

    assert canonical.digest(at) == canonical.digest(run.version)
    assert all(replica.files[d] == run.blobs.files[d] for d in at.blobs())


def test_the_length_of_the_step_is_that_of_the_difference_in_theta() -> None:
    run = Run()
    noted: list[float] = []
    before = run.theta()
    commit, content = run.commit(moved(run, 1))
    read, write = run.blobs.read, run.blobs.write

    at = advance(
        run.genesis, run.version, commit, bytes_of(content), read, write, note_step=noted.append
    )

    length = np.linalg.norm(run.blobs.vector(at.theta) - before)
    assert noted == [pytest.approx(length, rel=1e-5)]
    assert at == advance(run.genesis, run.version, commit, bytes_of(content), read, write)


def test_padding_stays_zero_everywhere() -> None:
    run = Run()
    for seed in range(3):
        run.advance(*run.commit(moved(run, seed)))

    version = run.version
    momentum, acc = version.state["momentum"], version.state["acc"]
    for vector in map(run.blobs.vector, (version.theta, momentum, acc)):
        assert np.array_equal(vector, zero_padded(SMALL, vector.copy()))
    assert run.blobs.vector(momentum)[: SMALL.parameter_values].any()
    assert not run.blobs.vector(momentum)[SMALL.parameter_length :].any()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"acc": ()}, "has 0 segments of acc, with nesterov on this model it has 1"),
        ({"m": ("a" * 64,)}, "has 1 segments of m, with nesterov on this model it has 0"),
        ({"momentum": ("a" * 64,) * 2}, "has 2 segments of momentum, with nesterov"),
    ],
)
def test_a_version_of_another_optimiser_or_model_is_refused(
    changes: dict[str, tuple[Digest, ...]], sentence: str
) -> None:
    run = Run()
    run.version = replace(run.version, state={**run.version.state, **changes})
    with pytest.raises(DamagedDataError, match=sentence):
        run.advance(*run.commit(moved(run, 1)))


def test_clipping_comes_on_after_five_commits_and_honest_updates_pass() -> None:
    run = Run()
    clips = []
    for seed in range(8):
        run.advance(*run.commit(moved(run, seed)))
        clips.append(run.version.clip)

    assert clips[:4] == [0.0] * 4
    assert all(c > 0 for c in clips[4:])


@pytest.mark.parametrize(("kind", "bits"), [("dense", 8), ("float32", 32)])
def test_a_sum_longer_than_clipping_allows_is_refused(kind: str, bits: int) -> None:
    run = Run(with_codec(kind, bits))
    for seed in range(5):
        run.advance(*run.commit(moved(run, seed)))
    assert run.version.clip > 0
    thetas = moved(run, 9, size=1.0)
    commit, content = run.commit(thetas)
    assert commit.side_values.clipped == 4
    run.advance(commit, content)  # workers clip: fine

    forged = bytearray(content)
    data = run.schema.length * bits // 8
    if bits == 32:
        forged[:data] = random_vector(run.schema, 1, 1e3).astype("<f4").tobytes()
    else:
        forged[:data] = b"\x7f" * data
    commit, _ = run.commit(moved(run, 10))
    with pytest.raises(BadCommitError, match="length is"):
        run.advance(commit, bytes(forged))


def test_a_vector_of_several_segments_is_replayed_one_by_one() -> None:
    schema = ModelSchema((TensorSpec("w", (SEGMENT + 5000,)),), (TensorSpec("b", (3000,)),))
    algorithm = replace(with_codec("dense", 16), outer=Outer("sgd", 1.0, 0.0))
    run = Run(algorithm, schema)
    before, thetas = run.theta(), moved(run, 1)
    reads: list[int] = []
    commit, content = run.commit(thetas)

    def read(offset: int, length: int) -> bytes:
        reads.append(length)
        return content[offset : offset + length]

    after = advance(run.genesis, run.version, commit, read, run.blobs.read, run.blobs.write)

    mean = before - np.mean([*thetas.values()], axis=0)
    error = before - run.blobs.vector(after.theta) - mean
    assert np.linalg.norm(error) < 0.002 * np.linalg.norm(mean)
    assert len(after.theta) == 2
    assert max(reads) == 2 * SEGMENT


@pytest.mark.parametrize("kind", ["sgd", "nesterov"])
def test_several_threads_give_the_same_version(kind: str) -> None:
    schema = ModelSchema((TensorSpec("w", (2 * SEGMENT + 5000,)),), (TensorSpec("b", (3000,)),))
    algorithm = replace(with_codec("dense", 8), outer=Outer(kind, 0.6, 0.8 * (kind != "sgd")))
    run = Run(algorithm, schema)
    run.advance(*run.commit(moved(run, 1)))
    run.version = replace(run.version, clip=1e9)  # so that lengths are added up too
    commit, content = run.commit(moved(run, 2))
    args = (run.genesis, run.version, commit, bytes_of(content), run.blobs.read, run.blobs.write)

    with ThreadPoolExecutor(4) as pool:
        assert advance(*args, pool) == advance(*args)


def test_a_segment_of_zeros_is_not_read() -> None:
    run = Run(with_codec("dense", 8))
    zeros = set(run.version.state["acc"])
    commit, content = run.commit(moved(run, 1))
    read: list[Digest] = []

    def read_blob(digest: Digest) -> bytes:
        read.append(digest)
        return run.blobs.read(digest)

    advance(run.genesis, run.version, commit, bytes_of(content), read_blob, run.blobs.write)

    assert zeros
    assert not zeros & set(read)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"survivors": (*WORKERS[:2], WORKERS[1])}, "not sorted"),
        ({"survivors": WORKERS[::-1]}, "not sorted"),
        ({"survivors": WORKERS[:2]}, "at least 3 needed"),
        ({"survivors": (*WORKERS[:3], "zoe")}, "survivors without numbers"),
        ({"numbers": dict.fromkeys((*WORKERS, "zoe"), NUMBERS)}, "not in the plan"),
        ({"survivors": WORKERS[:3]}, "side_values.v is"),
        ({"aggregate_bytes": 5}, "aggregate_bytes is 5"),
    ],
)
def test_a_commit_that_does_not_follow_from_its_plan_is_refused(change: dict, message: str) -> None:
    run = Run()
    commit, content = run.commit(moved(run, 1))

    with pytest.raises(BadCommitError, match=message):
        run.advance(replace(commit, **change), content)


@pytest.mark.parametrize(
    ("side_value", "message"),
    [
        ({"v": 1}, "side_values.v"),
        ({"clipped": 1}, "side_values.clipped"),
        ({"loss_2_20": -1}, "side_values.loss"),
    ],
)
def test_side_values_that_cannot_be_are_refused(side_value: dict, message: str) -> None:
    run = Run()
    commit, content = run.commit(moved(run, 1))

    with pytest.raises(BadCommitError, match=message):
        run.advance(replace(commit, side_values=replace(commit.side_values, **side_value)), content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": "other"}, "run is"),
        ({"tier": "none"}, "tier is"),
        ({"digest": "0" * 64}, "not the base's"),
        ({"fragment": 1}, "fragment"),
        ({"threshold": 2}, "threshold is 2, must be 3"),
        ({"bits": 8}, "bits is 8, must be 16"),
        ({"live_speed": 10}, "live_speed"),
        ({"num_live": 3}, "num_live"),
        ({"hours": -1.0}, "hours"),
        ({"offers": ()}, "0 offers"),
    ],
)
def test_a_plan_that_does_not_follow_from_the_run_is_refused(change: dict, message: str) -> None:
    run = Run()
    commit, content = run.commit(moved(run, 1))

    with pytest.raises(BadCommitError, match=message):
        run.advance(replace(commit, plan=replace(commit.plan, **change)), content)


def test_impossible_numbers_in_a_commit_are_refused() -> None:
    run = Run()
    commit, content = run.commit(moved(run, 1))
    numbers = {**commit.numbers, WorkerId("aws"): replace(NUMBERS, lr_sum=-1.0)}

    with pytest.raises(BadNumbersError, match="aws: lr_sum"):
        run.advance(replace(commit, numbers=numbers), content)


def test_a_truncated_file_of_the_parent_or_aggregate_is_damaged_data() -> None:
    run = Run()
    commit, content = run.commit(moved(run, 1))

    with pytest.raises(DamagedDataError, match="aggregate"):
        run.advance(commit, content[:-1])
    run.blobs.files[run.version.theta[0]] = b"1234"
    with pytest.raises(DamagedDataError, match="has 4 bytes"):
        run.advance(commit, content)


def test_one_flipped_bit_in_the_aggregate_gives_another_version() -> None:
    run = Run()
    commit, content = run.commit(moved(run, 1))
    flipped = bytes([content[0] ^ 1]) + content[1:]
    before = run.version

    good = run.advance(commit, content)
    run.version = before

    assert canonical.digest(run.advance(commit, flipped)) != canonical.digest(good)
