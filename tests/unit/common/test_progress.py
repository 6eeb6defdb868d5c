from dataclasses import replace

import numpy as np
import pytest

from common import canonical
from common.documents import Counters, Stop, WorkerCounters
from common.progress import next_counters, progress
from common.shards import PayloadLayout
from tests.rig.rounds.small_run import NUMBERS, SMALL, WORKERS, Run, random_vector


def test_counters_add_up_over_commits() -> None:
    run = Run()
    thetas = {w: random_vector(SMALL, 1) for w in WORKERS[:3]}
    numbers = {**run.numbers(), WORKERS[0]: replace(NUMBERS, age_256=128, tokens=5)}
    commit, _ = run.commit(thetas, numbers)

    once = next_counters(run.genesis, Counters(), commit, 10)
    twice = next_counters(run.genesis, once, commit, 25)

    assert (once.tokens, twice.tokens) == (4005, 8010)
    assert (twice.steps, twice.member_steps_256, twice.elapsed_s) == (120, 2 * 256 * 60 // 4, 25)
    assert twice.payload_bytes == 2 * 3 * PayloadLayout(SMALL.length, 16).sent_bytes
    assert twice.float32_bytes == 2 * 3 * 4 * 8600
    assert twice.workers[WORKERS[0]] == WorkerCounters(2, 10, 40, 256)
    assert WORKERS[3] not in twice.workers
    assert canonical.decode(canonical.encode(twice), Counters) == twice


@pytest.mark.parametrize(
    ("stop", "horizon", "expected"),
    [
        (Stop(versions=10), 0, 0.3),
        (Stop(tokens=400), 0, 0.25),
        (Stop(hours=2.0), 0, 0.75),
        (Stop(versions=10, tokens=400, hours=2.0), 0, 0.75),
        (Stop(loss=2.0), 200, 0.5),
        (Stop(versions=2), 0, 1.0),
        (Stop(), 0, 0.0),
    ],
)
def test_progress_is_the_largest_part_of_a_limit(stop: Stop, horizon: int, expected: float) -> None:
    genesis = Run().genesis
    schedule = replace(genesis.algorithm.schedule, horizon_tokens=horizon)
    genesis = replace(genesis, stop=stop, algorithm=replace(genesis.algorithm, schedule=schedule))

    found = progress(genesis, versions=3, tokens=100, hours=1.5)

    assert found == float(np.float32(expected))
