from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.documents import Control, Version
from common.schema import ModelSchema, TensorSpec
from common.terms import round_layout
from tests.rig.rounds.small_chain import Coordinator
from tests.rig.rounds.small_run import TLS, Run, with_codec
from worker.rounds.catch_up import Way, are_cheap, step_bytes, version_bytes, ways


def nothing(_: object) -> bool:
    return False


@pytest.mark.parametrize(
    ("steps", "wholes", "behind", "expected"),
    [
        ([10, 10], {1: 80}, False, [Way(None, 20), Way(1, 80)]),
        ([50, 0, 50], {2: 80}, False, [Way(2, 80), Way(None, 100)]),
        ([40, 40], {1: 80}, False, [Way(None, 80), Way(1, 80)]),  # what is surer
        ([10, 10], {1: 80}, True, [Way(1, 80)]),
        ([10, 10, 10], {0: 80, 2: 80}, True, [Way(2, 80), Way(0, 100)]),
        ([10, None, 10], {1: 80, 2: 95}, False, [Way(1, 90), Way(2, 95)]),
        ([10, None, 10], {0: 80}, False, []),  # beyond it lies a roll-back
        ([10], {}, True, []),
        ([], {}, False, [Way(None, 0)]),
    ],
)
def test_the_ways_that_there_are_cheapest_first(
    steps: list[int | None], wholes: Mapping[int, int], behind: bool, expected: list[Way]
) -> None:
    assert ways(steps, wholes, behind=behind) == expected


@given(st.lists(st.integers(0, 100), min_size=1, max_size=8), st.data())
def test_no_way_is_cheaper_than_the_first(steps: list[int], data: st.DataObject) -> None:
    places = st.integers(0, len(steps) - 1)
    wholes = data.draw(st.dictionaries(places, st.integers(0, 300)))
    found = ways(steps, wholes, behind=False)
    every = [sum(steps)] + [num + sum(steps[i + 1 :]) for i, num in wholes.items()]
    assert sorted(every) == [way.num_bytes for way in found]


@pytest.mark.parametrize(
    ("kind", "bits", "more"),
    [
        ("dense", 8, {}),
        ("dense", 4, {}),
        ("cyclic", 8, {"one_in": 3}),
        ("randk", 8, {"one_in": 2}),
        ("heavy", 8, {"one_in": 2}),
        ("topk", 2, {"one_in": 16}),
        ("float32", 32, {}),
    ],
)
def test_a_step_costs_what_its_aggregate_has(kind: str, bits: int, more: dict[str, float]) -> None:
    algorithm = with_codec(kind, bits, **more)
    if kind == "topk":
        algorithm = replace(algorithm, outer=replace(algorithm.outer, kind="sgd", momentum=0.0))
    coordinator = Coordinator(Run(algorithm))
    for _ in range(4):
        record = coordinator.step()
        commit = record.commit
        assert commit is not None
        num_bytes = len(coordinator.run.blobs.files[commit.aggregate])
        layout = round_layout(coordinator.run.genesis, commit.plan.bits, commit.plan.fragment)
        assert num_bytes == layout.aggregate_bytes(len(commit.survivors))
        assert step_bytes(record, nothing) == num_bytes
        assert step_bytes(record, {commit.aggregate}.__contains__) == 0


def test_what_moves_nothing_costs_nothing_and_a_roll_back_is_no_step() -> None:
    coordinator = Coordinator()
    first = coordinator.run.version
    pause = coordinator.append(control=Control("pause", "ann", ""))
    assert step_bytes(pause, nothing) == 0
    coordinator.step()
    assert step_bytes(coordinator.roll_back(0, first), nothing) is None


SEVERAL_SEGMENTS = ModelSchema((TensorSpec("w", (5, 2**19)),), ())


@pytest.mark.parametrize("schema", [None, SEVERAL_SEGMENTS])
def test_a_version_costs_its_files_that_are_missing(schema: ModelSchema | None) -> None:
    run = Run(TLS) if schema is None else Run(TLS, schema)
    base, blobs = run.version, run.blobs.files
    if schema is None:
        Coordinator(run).step()
    version: Version = run.version
    files = {*version.blobs()}
    assert version_bytes(run.genesis, version, nothing) == sum(len(blobs[d]) for d in files)
    held = {*base.blobs()}
    missing = sum(len(blobs[d]) for d in files - held)
    assert version_bytes(run.genesis, version, held.__contains__) == missing


def test_few_steps_are_cheap_and_no_roll_back_is() -> None:
    genesis = Coordinator().run.genesis
    theta_bytes = 4 * genesis.schema.length
    assert are_cheap(genesis, [theta_bytes - 1, 0, 1])
    assert not are_cheap(genesis, [theta_bytes, 1])
    assert not are_cheap(genesis, [0, None])
