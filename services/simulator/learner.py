"""A learner whose work can be counted: each local step adds one to one value, this worker's own.

So whatever is committed, frozen or pending of a worker is a whole number, and stands in one place.
"""

import numpy as np
from typing_extensions import override

from common.arrays import F32
from worker.learner import Learner, LearnerContext, State, Step, Tensor, Validation


class Counting(Learner):
    """See the module docstring.

    Args:
        num_values: length of its one parameter.
        index: of the value that it counts in.
    """

    def __init__(self, num_values: int, index: int) -> None:
        self._values: F32 = np.zeros(num_values, np.float32)
        self.index = index
        self._steps = 0

    @override
    def parameters(self) -> dict[str, Tensor]:
        return {"counts": self._values}

    @override
    def train(self, lr: float) -> Step:
        self._values[self.index] += 1
        self._steps += 1
        return Step(loss=1.0, tokens=10, samples=1)

    @override
    def evaluate(self) -> Validation:
        return Validation(loss=1.0, accuracy=0.5, tokens=1)

    @override
    def state(self) -> State:
        return {"steps": np.array(self._steps)}

    @override
    def load_state(self, state: State) -> None:
        self._steps = int(state["steps"])

    @property
    def steps(self) -> int:
        """Steps in the life that its state tells of: those that a kill lost are not in it."""
        return self._steps

    @property
    def count(self) -> float:
        """The live value that this worker counts in."""
        return float(self._values[self.index])


def build(context: LearnerContext) -> Counting:
    """Build from `settings.num_values` and `data.index`."""
    index = 0 if context.data is None else context.data["index"]
    num_values = context.settings["num_values"]
    assert isinstance(index, int)
    assert isinstance(num_values, int)
    return Counting(num_values, index)
