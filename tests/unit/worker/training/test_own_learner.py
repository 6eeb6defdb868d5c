import numpy as np
import pytest

from examples.own_learner import build
from worker.training.learner import LearnerContext


@pytest.fixture
def make(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat; " * 200)
    data = {"train": [str(tmp_path / "text.txt")], "validation": [str(tmp_path / "text.txt")]}

    def make(seed=0):
        return build(LearnerContext({"width": 8}, data, seed=seed, name="aws"))

    return make


def test_training_lowers_the_loss_below_chance(make):
    learner = make()
    before = learner.evaluate()
    losses = [learner.train(2.0).loss for _ in range(120)]

    after = learner.evaluate()

    assert before.loss == pytest.approx(np.log(256))
    assert after.loss < 1.5
    assert after.accuracy > before.accuracy
    assert np.mean(losses[-10:]) == pytest.approx(after.loss, abs=0.3)


def test_one_step_goes_down_the_measured_slope(make):
    """A central difference along each matrix's own step has to give the slope that SGD assumes."""
    learner, probe = make(), make()
    for model in (learner, probe):
        for _ in range(20):
            model.train(1.0)
    start = {n: w.copy() for n, w in learner.parameters().items()}
    learner.train(1.0)
    step = {n: w - start[n] for n, w in learner.parameters().items()}
    cursor = probe.state()

    def loss_at(scale):
        probe.load_state({"cursor.batch": cursor["cursor.batch"].copy()})
        for name, weight in probe.parameters().items():
            weight[:] = start[name] + np.float32(scale) * step[name]
        return probe.train(0.0).loss

    slope = (loss_at(0.01) - loss_at(-0.01)) / 0.02
    assert slope == pytest.approx(-sum(float((s * s).sum()) for s in step.values()), rel=0.02)


def test_equal_seeds_train_equally_and_a_restored_one_goes_on(make):
    one, two = make(), make()
    for _ in range(3):
        one.train(0.5)
    two.load_state(one.state())
    for name, weight in two.parameters().items():
        weight[:] = one.parameters()[name]

    assert one.train(0.5) == two.train(0.5)
    assert not np.array_equal(make(seed=1).parameters()["first"], make().parameters()["first"])
