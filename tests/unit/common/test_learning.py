"""The arithmetic learns: logistic regression on five skewed clouds, exact against quantised."""

from dataclasses import replace

import numpy as np

from common.documents import Algorithm, Numbers, Outer, Schedule
from common.ids import WorkerId
from common.schema import ModelSchema, TensorSpec
from tests.rig.rounds.small_run import Run, with_codec

NUM_FEATURES, NUM_CLASSES, NUM_ROUNDS = 40, 8, 30
SCHEMA = ModelSchema((TensorSpec("w", (NUM_FEATURES, NUM_CLASSES)),))
SPEEDS = {"a": 4, "b": 4, "c": 4, "d": 2, "e": 1}
RATE = 0.5

_random = np.random.default_rng(0)
_teacher = _random.standard_normal((NUM_FEATURES, NUM_CLASSES))


def _cloud(index: int) -> tuple[np.ndarray, np.ndarray]:
    x = _random.standard_normal((400, NUM_FEATURES))
    x[:, index * 8 : index * 8 + 8] += 1.0  # every cloud sees another corner
    noise = 2 * _random.gumbel(size=(400, NUM_CLASSES))
    return x, np.argmax(x @ _teacher + noise, axis=1)


CLOUDS = {w: _cloud(i) for i, w in enumerate(SPEEDS)}


def _weights(theta: np.ndarray) -> np.ndarray:
    return theta[: NUM_FEATURES * NUM_CLASSES].reshape(NUM_FEATURES, NUM_CLASSES).astype(float)


def _probabilities(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    z = x @ w
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def _trained(theta: np.ndarray, name: str, num_steps: int, seed: int) -> np.ndarray:
    x, y = CLOUDS[name]
    w = _weights(theta)
    for batch in np.random.default_rng(seed).integers(0, len(x), (num_steps, 32)):
        p = _probabilities(w, x[batch])
        p[np.arange(32), y[batch]] -= 1
        w -= RATE * x[batch].T @ p / 32
    after = theta.copy()
    after[: w.size] = w.reshape(-1)
    return after


def _final_loss(algorithm: Algorithm, survivors: int) -> float:
    names = tuple(WorkerId(w) for w in SPEEDS)
    theta0 = np.zeros(SCHEMA.length, np.float32)
    run = Run(algorithm, SCHEMA, theta0, workers=names, speeds=tuple(SPEEDS.values()))
    numbers = {
        w: Numbers(SPEEDS[w] * 160, RATE * SPEEDS[w] * 5, 0, 65535, SPEEDS[w] * 5, 160)
        for w in names
    }
    for number in range(NUM_ROUNDS):
        alive = [names[(number + i) % len(names)] for i in range(survivors)]
        thetas = {w: _trained(run.theta(), w, SPEEDS[w] * 5, 10 * number) for w in alive}
        run.advance(*run.commit(thetas, numbers, seed=number))
    w = _weights(run.theta())
    losses = [
        -np.log(_probabilities(w, x)[np.arange(len(y)), y]).mean() for x, y in CLOUDS.values()
    ]
    return float(np.mean(losses))


def test_eight_bits_learn_as_well_as_float32_with_changing_cohorts() -> None:
    outer = Outer("nesterov", 0.6, 0.6)
    exact = _final_loss(
        replace(with_codec("float32", 32), outer=outer, schedule=Schedule(peak=RATE)), survivors=4
    )
    eight = _final_loss(
        replace(with_codec("dense", 8), outer=outer, schedule=Schedule(peak=RATE)), survivors=4
    )

    assert exact < 0.4 * np.log(NUM_CLASSES)
    assert abs(eight - exact) < 0.005
