"""Room that settings and page say is needed: what the plan computes, rounded up, and one number."""

import math
import re
from pathlib import Path
from typing import Final

import pytest
from pydantic import BaseModel

from commands.plan import room
from common.documents import Commit, Counters, Genesis, Plan, Record, SideValues, Stop
from common.ids import Digest, RoundId
from common.schema import ModelSchema, TensorSpec
from services.config.presets import DEFAULT_PRESET, PRESETS
from services.config.settings import CoordinatorSettings, EvaluatorSettings, WorkerSettings
from services.coordinator.kept.retention import Retention

NUM_VALUES: Final = 10**8
SNAPSHOT_EVERY: Final = 8
DEFAULT: Final = Genesis(
    run="r",
    seed=1,
    learner="l:b",
    settings={},
    schema=ModelSchema((TensorSpec("p", (NUM_VALUES,)),)),
    version0=Digest("0" * 64),
    algorithm=PRESETS[DEFAULT_PRESET].algorithm,
    stop=Stop(versions=1),
)
NONE: Final = Digest("")
PAGE: Final = Path(__file__).parents[4] / "docs" / "operations.md"


def in_models(num_bytes: float) -> float:
    return num_bytes / (4 * NUM_VALUES)


@pytest.mark.parametrize(
    ("kind", "role", "num_bytes"),
    [
        (WorkerSettings, "worker", room.worker_disk_peak(DEFAULT, room.ADAMW_BYTES)),
        (EvaluatorSettings, "evaluator", room.evaluator_disk_peak(DEFAULT)),
    ],
)
def test_settings_page_and_plan_say_the_same_room(
    kind: type[BaseModel], role: str, num_bytes: float
) -> None:
    needed = math.ceil(in_models(num_bytes))
    assert f"needs room for {needed} models" in str(kind.model_fields["state_dir"].description)
    row = re.search(rf"\| {role} `state_dir` \| (\d+)", PAGE.read_text())
    assert row is not None
    assert int(row[1]) == needed


def test_a_coordinators_too() -> None:
    row = re.search(
        r"`data_dir` \| (\d+) \+ `snapshot_every` \+ half of one per cohort member",
        PAGE.read_text(),
    )
    assert row is not None
    said = str(CoordinatorSettings.model_fields["data_dir"].description)
    assert f"room for {row[1]} models and as many more as snapshot_every says" in said
    assert "half of one for each member" in said
    for num_members in (3, 8):
        peak = in_models(room.coordinator_disk_peak(DEFAULT, SNAPSHOT_EVERY, num_members))
        assert peak == pytest.approx(int(row[1]) + SNAPSHOT_EVERY + num_members / 2, abs=0.1)


def committed(version: int) -> Record:
    """A commit's record, as far as `Retention` looks at it."""
    plan = Plan("", RoundId(""), "", version - 1, NONE, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, ())
    commit = Commit(plan, {}, (), SideValues(0, 0, 0), Digest(f"{version:064x}"), 0)
    digest = Digest(f"{version:064x}")
    return Record(version, NONE, 0, 0, version, digest, 0.0, Counters(), commit=commit)


@pytest.mark.parametrize("snapshot_every", [*range(1, 10), 16, 31])
def test_what_is_kept_at_most_is_what_the_coordinator_keeps_at_most(snapshot_every: int) -> None:
    retention, orders = Retention(NONE, snapshot_every, version_bytes=0), []
    for version in range(1, 4 * snapshot_every + 1):
        retention.recorded(committed(version))
        orders.append(retention.collect())
    most = room.most_kept(snapshot_every)
    assert most.versions == max(len(order.versions) for order in orders)
    assert most.aggregates == max(len(order.files) for order in orders)


def test_the_room_of_a_coordinator_that_takes_no_snapshot_is_told_at_once() -> None:
    assert room.most_kept(10**6) == room.Kept(versions=4, aggregates=2 * 10**6 - 1)
