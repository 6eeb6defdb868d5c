"""A learner that walks at random, in several blocks: every step is known beforehand."""

import numpy as np

from common.arrays import F32
from common.schema import ModelSchema, TensorSpec
from worker.training.learner import Learner, LearnerContext, State, Step, Tensor, Validation

SCHEMA = ModelSchema(
    (TensorSpec("w", (3, 6000)), TensorSpec("v", (2500,))), (TensorSpec("mean", (100,)),)
)
"""Seven blocks, of which two have padding."""

_USED = np.ones(SCHEMA.length, bool)
for _start, _stop in SCHEMA.padding():
    _USED[_start:_stop] = False


def stride(batch: int, size: float) -> F32:
    """Return what step number `batch` adds, float32[SCHEMA.length]."""
    drawn = np.random.default_rng([7, batch]).standard_normal(SCHEMA.length)
    return np.where(_USED, size * drawn, 0).astype(np.float32)


class Walking(Learner):
    """Args: size: of the next steps."""

    def __init__(self) -> None:
        self._tensors = {
            spec.name: np.zeros(spec.shape, np.float32)
            for spec in (*SCHEMA.parameters, *SCHEMA.buffers)
        }
        self.size, self.batch = 0.01, 0

    def parameters(self) -> dict[str, Tensor]:
        return {spec.name: self._tensors[spec.name] for spec in SCHEMA.parameters}

    def buffers(self) -> dict[str, Tensor]:
        return {spec.name: self._tensors[spec.name] for spec in SCHEMA.buffers}

    def train(self, lr: float) -> Step:
        step = stride(self.batch, self.size)
        for spec, at in SCHEMA.offsets():
            self._tensors[spec.name] += step[at : at + spec.size].reshape(spec.shape)
        self.batch += 1
        return Step(loss=1.0, tokens=10, samples=1)

    def evaluate(self) -> Validation:
        return Validation(loss=1.0, accuracy=0.5, tokens=1)

    def state(self) -> State:
        return {"cursor.batch": np.array(self.batch)}

    def load_state(self, state: State) -> None:
        self.batch = int(state["cursor.batch"])


def build(context: LearnerContext) -> Walking:
    return Walking()
