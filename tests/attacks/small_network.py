"""A ReLU network in numpy, trained on data of each cloud's own: small, and its updates are real."""

import numpy as np

from common.arrays import F32
from worker.training.learner import Learner, LearnerContext, State, Step, Validation

IN, HIDDEN, OUT, BATCH = 8, 64, 4, 32


class SmallNetwork(Learner):
    """Learns a linear map that this cloud alone knows, by plain gradient descent."""

    def __init__(self, name: str) -> None:
        begin = np.random.default_rng(1)  # the same for all
        self.w1: F32 = (0.3 * begin.standard_normal((IN, HIDDEN))).astype(np.float32)
        self.b1: F32 = np.full(HIDDEN, 0.1, np.float32)
        self.w2: F32 = (0.2 * begin.standard_normal((HIDDEN, OUT))).astype(np.float32)
        own = int.from_bytes(name.encode(), "big")
        self._draw = np.random.default_rng([own, 1])
        self._map = np.random.default_rng([own, 2]).standard_normal((IN, OUT))

    def parameters(self) -> dict[str, F32]:
        return {"w1": self.w1, "b1": self.b1, "w2": self.w2}

    def train(self, lr: float) -> Step:
        x = self._draw.standard_normal((BATCH, IN))
        before = x @ self.w1 + self.b1
        hidden = np.maximum(before, 0)
        error = hidden @ self.w2 - x @ self._map
        back = 2 * error / error.size
        inner = back @ self.w2.T * (before > 0)
        self.w2 -= (lr * (hidden.T @ back)).astype(np.float32)
        self.w1 -= (lr * (x.T @ inner)).astype(np.float32)
        self.b1 -= (lr * inner.sum(0)).astype(np.float32)
        return Step(float((error**2).mean()), BATCH * IN, BATCH)

    def evaluate(self) -> Validation:
        return Validation(1.0, 0.5, 1)

    def state(self) -> State:
        return {"cursor.steps": np.array(0)}

    def load_state(self, state: State) -> None:
        pass


def build(context: LearnerContext) -> SmallNetwork:
    return SmallNetwork(context.name)
