"""A learner of any size that learns nothing, without torch: for what depends on size alone.

A run takes it with `learner: benchmarks.zeros:build` and `settings: {values: N}`.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from crosscloud import Learner, LearnerContext, State, Step, Validation


def build(context: LearnerContext) -> Learner:
    """Build the learner; settings: values, the number of its parameters."""
    return Zeros(int(context.settings["values"]))


class Zeros(Learner):
    """One float32 vector of zeros."""

    def __init__(self, num_values: int) -> None:
        self._parameters = {"zeros": np.zeros(num_values, np.float32)}

    @override
    def parameters(self) -> Mapping[str, npt.NDArray[np.float32]]:
        """Return the one vector."""
        return self._parameters

    @override
    def train(self, lr: float) -> Step:
        """Change nothing."""
        return Step(loss=0.0, tokens=1, samples=1)

    @override
    def evaluate(self) -> Validation:
        """Measure nothing."""
        return Validation(loss=0.0, accuracy=0.0, tokens=1)

    @override
    def state(self) -> State:
        """Return nothing."""
        return {}

    @override
    def load_state(self, state: State) -> None:
        """Take nothing."""
