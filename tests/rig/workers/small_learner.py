"""A learning run without torch: next symbol from this one, softmax regression, made-up sequences.

The learner's batches follow from the seed, its name and a cursor, as the real learner's do.
"""

import numpy as np

from common.documents import Algorithm, Codec, Schedule, Stop
from simulator.experiment import Cloud, LearningRun
from worker.training.learner import Learner, Step, Validation

NUM_SYMBOLS = 96  # 9216 parameters: two whole blocks and part of a third
BATCH = 64


class Bigram(Learner):
    def __init__(self, seed: int, name: str, data: dict) -> None:
        self._w = np.zeros((NUM_SYMBOLS, NUM_SYMBOLS), np.float32)
        self._key = [seed, *name.encode()]
        self._skew = data.get("skew", 0)
        self._size = data.get("size", 512)
        self._next = 0

    def parameters(self):
        return {"w": self._w}

    def train(self, lr):
        if lr > 1e3:
            raise ArithmeticError("this learning rate is a joke")
        x, y = self._draw([*self._key, self._next], BATCH, self._skew)
        self._next += 1
        loss, gradient = self._loss(x, y)
        self._w -= np.float32(lr) * gradient
        return Step(loss=loss, tokens=BATCH, samples=BATCH)

    def evaluate(self):
        x, y = self._draw([99], self._size, 0)
        right = self._w[x].argmax(1) == y
        return Validation(loss=self._loss(x, y)[0], accuracy=float(right.mean()), tokens=len(x))

    def state(self):
        return {"cursor.batch": np.array(self._next)}

    def load_state(self, state):
        self._next = int(state["cursor.batch"])

    def _draw(self, key, num, skew):
        draw = np.random.default_rng(key)
        x = (draw.integers(0, NUM_SYMBOLS // 2, num) + skew) % NUM_SYMBOLS
        return x, (3 * x + draw.integers(0, 4, num)) % NUM_SYMBOLS

    def _loss(self, x, y):
        z = self._w[x]
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        at = np.arange(len(x))
        loss = float(-np.log(p[at, y]).mean())
        p[at, y] -= 1
        gradient = np.zeros_like(self._w)
        np.add.at(gradient, x, p / len(x))
        return loss, gradient


def build(context):
    return Bigram(context.seed, context.name, dict(context.data or {}))


SYNC = Algorithm(
    policy="sync",
    tier="tls",
    quorum=1.0,
    max_cohort=4,
    staleness="constant",
    local_steps=4,
    min_local_steps=1,
    codec=Codec(bits=8, first_bits=16),
    schedule=Schedule(peak=20.0, warmup_steps=0),
)
RUN = LearningRun(
    seed=3,
    learner="tests.rig.workers.small_learner:build",
    settings={},
    algorithm=SYNC,
    stop=Stop(versions=6),
    clouds=tuple(Cloud(f"w{i}", {"skew": 16 * i}) for i in range(4)),
    measured={"size": 2048},
    glanced={"size": 256},
    glance_every=2,
)
