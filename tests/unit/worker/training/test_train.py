import json
import math
from dataclasses import replace

import numpy as np
import pytest

from common.documents import Algorithm, Schedule
from common.errors import DamagedDataError
from common.schema import BLOCK, SEGMENT
from tests.unit.worker.training.fakes import FixedLearner
from worker.training.train import Standing, Trainer

ALGORITHM = Algorithm(schedule=Schedule(peak=0.01, warmup_steps=10, floor=0.1))
SIZE = SEGMENT + 100  # two segments
LENGTH = SEGMENT + BLOCK
AT_5 = Standing(version=5, progress=0.0, member_steps=100.0)


def make():
    learner = FixedLearner({"w": np.zeros(SIZE, np.float32)})
    return learner, Trainer(learner, ALGORITHM)


def segments_of(folder, name, value):
    """Write a version's segments, all of one value but for the padding."""
    theta = np.zeros(LENGTH, "<f4")
    theta[:SIZE] = value
    paths = (folder / f"{name}0", folder / f"{name}1")
    theta[:SEGMENT].tofile(paths[0])
    theta[SEGMENT:].tofile(paths[1])
    return paths


def test_it_begins_on_the_base(tmp_path):
    learner, trainer = make()

    trainer.begin(AT_5, segments_of(tmp_path, "head", 3))

    assert set(learner.held["w"].tolist()) == {3.0}
    assert (trainer.version, trainer.pending().steps) == (5, 0)


def test_steps_are_pending_work_at_the_rate_of_the_public_clock(tmp_path):
    learner, trainer = make()
    for _ in range(3):
        trainer.step()

    assert learner.rates == pytest.approx([0.001, 0.002, 0.003])  # no optimiser state yet: warm-up
    numbers = trainer.pending()
    assert (numbers.tokens, numbers.steps, numbers.samples) == (30, 3, 6)
    assert numbers.lr_sum == pytest.approx(0.006)
    assert (numbers.age_256, numbers.staleness_65535) == (0, 65535)


def test_after_warm_up_the_rate_follows_the_progress_at_the_base(tmp_path):
    learner, trainer = make()
    trainer.begin(AT_5, segments_of(tmp_path, "head", 0))
    for _ in range(10):
        trainer.step()
    base = segments_of(tmp_path, "base", 0)

    trainer.merge(replace(AT_5, version=6, progress=1.0), base, base)
    trainer.step()

    assert learner.rates[-1] == pytest.approx(0.001)


def test_a_merge_moves_the_base_and_keeps_local_work(tmp_path):
    learner, trainer = make()
    trainer.begin(AT_5, segments_of(tmp_path, "old", 3))
    trainer.step()

    trainer.merge(
        replace(AT_5, version=7), segments_of(tmp_path, "new", 10), segments_of(tmp_path, "old", 3)
    )

    assert set(learner.held["w"].tolist()) == {11.0}
    assert (trainer.version, trainer.pending().age_256) == (7, 2 * 256)


def test_a_survivor_merges_against_its_parameters_at_close(tmp_path):
    learner, trainer = make()
    trainer.begin(AT_5, segments_of(tmp_path, "old", 3))
    trainer.step()  # 4 at close
    trainer.close("r", tmp_path / "stage")
    trainer.step()  # 5: one step since

    trainer.release("r", "contributed")
    trainer.merge(
        replace(AT_5, version=6),
        segments_of(tmp_path, "new", 10),
        (tmp_path / "stage" / "theta.f32",),
    )

    assert set(learner.held["w"].tolist()) == {11.0}
    assert trainer.pending().steps == 1


def test_closing_tells_numbers_and_mean_loss_and_starts_anew(tmp_path):
    learner, trainer = make()
    trainer.begin(AT_5, segments_of(tmp_path, "head", 0))
    trainer.step()
    learner.loss = 4.0
    trainer.step()

    frozen = trainer.close("r", tmp_path / "stage")

    assert (frozen.numbers.steps, frozen.loss, frozen.finite) == (2, 3.0, True)
    assert trainer.pending().steps == 0


def test_a_roll_back_leaves_no_local_work_and_an_inner_optimiser_as_built(tmp_path):
    learner, trainer = make()
    trainer.begin(AT_5, segments_of(tmp_path, "head", 3))
    trainer.step()
    trainer.close("r", tmp_path / "stage")
    trainer.step()

    trainer.roll_back(replace(AT_5, version=6), segments_of(tmp_path, "back", 1))

    assert set(learner.held["w"].tolist()) == {1.0}
    assert learner.rates == []
    trainer.release("r", "free")
    assert (trainer.version, trainer.pending().steps) == (6, 0)
    trainer.step()
    assert learner.rates == [pytest.approx(0.001)]  # its warm-up begins again


def test_a_roll_back_repeats_no_batch_so_that_no_update_is_made_twice(tmp_path):
    # The same version and the same batches would give the same update: two sums of it, one with a
    # cloud and one without, differ by that cloud.
    learner, trainer = make()
    trainer.begin(AT_5, segments_of(tmp_path, "head", 3))
    for _ in range(4):
        trainer.step()

    trainer.roll_back(replace(AT_5, version=6), segments_of(tmp_path, "back", 1))

    assert (learner.batch, learner.rates) == (4, [])


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_told_at_close(tmp_path, loss):
    learner, trainer = make()
    trainer.begin(AT_5, segments_of(tmp_path, "head", 0))
    trainer.step()
    learner.loss = loss
    trainer.step()

    frozen = trainer.close("r", tmp_path / "stage")

    assert (frozen.numbers.steps, frozen.finite) == (2, False)
    assert math.isfinite(frozen.loss)


def test_parameters_that_are_not_finite_are_told_at_close(tmp_path):
    learner, trainer = make()
    trainer.begin(AT_5, segments_of(tmp_path, "head", 0))
    trainer.step()
    learner.held["w"][SEGMENT + 7] = np.inf

    assert not trainer.close("r", tmp_path / "stage").finite


def test_a_restart_goes_on_from_a_save_with_everything(tmp_path):
    learner, trainer = make()
    trainer.begin(AT_5, segments_of(tmp_path, "head", 3))
    trainer.step()
    trainer.close("r", tmp_path / "stage")
    trainer.step()
    trainer.save(tmp_path / "save")

    restarted, again = make()
    again.resume(AT_5, tmp_path / "save")

    assert np.array_equal(restarted.held["w"], learner.held["w"])
    assert again.pending() == trainer.pending()
    trainer.step()
    again.step()
    assert restarted.rates == learner.rates
    again.release("r", "free")
    assert again.pending().steps == 3


def test_a_stage_is_a_folder_to_resume_from_with_its_work_frozen(tmp_path):
    _, trainer = make()
    trainer.begin(AT_5, segments_of(tmp_path, "head", 3))
    trainer.step()
    trainer.close("r", tmp_path / "stage")

    _, again = make()
    again.resume(AT_5, tmp_path / "stage")

    assert again.pending().steps == 0
    again.release("r", "free")
    assert again.pending().steps == 1


@pytest.mark.parametrize("name", ["theta.f32", "learner.npz", "trainer.json"])
@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_damaged_folder_is_refused_and_the_fix_is_told(tmp_path, name, damage):
    _, trainer = make()
    trainer.begin(AT_5, segments_of(tmp_path, "head", 3))
    trainer.save(tmp_path / "save")
    file = tmp_path / "save" / name
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    with pytest.raises(DamagedDataError, match="move the whole state_dir that it lies in away"):
        make()[1].resume(AT_5, tmp_path / "save")


def test_a_learner_state_with_python_objects_is_never_stored(tmp_path):
    learner, trainer = make()
    learner.state = lambda: {"x": np.array([{}], dtype=object)}

    with pytest.raises(TypeError, match=r"state\.x holds Python objects"):
        trainer.save(tmp_path / "save")


def test_a_trainer_that_is_eight_rounds_ahead_waits(tmp_path):
    _, trainer = make()
    for _ in range(15):
        trainer.step()
    assert trainer.may_step(local_steps=2)
    trainer.close("r", tmp_path / "stage")
    trainer.step()

    assert not trainer.may_step(local_steps=2)
    trainer.release("r", "contributed")
    assert trainer.may_step(local_steps=2)


def test_what_is_stored_is_readable(tmp_path):
    _, trainer = make()
    trainer.step()
    trainer.save(tmp_path)

    stored = json.loads((tmp_path / "trainer.json").read_text())
    assert stored["ledger"]["pending"]["steps"] == 1
    assert (tmp_path / "theta.f32").stat().st_size == 4 * LENGTH
