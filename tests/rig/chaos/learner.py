"""A learner whose work can be counted: each step of worker w adds one to coordinate w.

It imports no torch, so that a restart is quick. What it took on when it went on from stored state
it notes in a journal, one line each time: the witness that nothing durable was lost.
"""

from pathlib import Path

import numpy as np

from crosscloud import Learner, LearnerContext, Step, Validation


def build(context: LearnerContext) -> Learner:
    """Settings: workers (names, in the order of their coordinates), size. Data: journals."""
    return Counter(context)


class Counter(Learner):
    """See the module docstring."""

    def __init__(self, context: LearnerContext) -> None:
        self._values = np.zeros(context.settings["size"], np.float32)
        self._coordinate = {n: i for i, n in enumerate(context.settings["workers"])}
        self._name = context.name
        self._journal = Path((context.data or {}).get("journals", ""), context.name)
        self._taken = 0

    def parameters(self):
        return {"counts": self._values}

    def train(self, lr):
        self._values[self._coordinate[self._name]] += 1
        self._taken += 1
        return Step(loss=1.0, tokens=1, samples=1)

    def evaluate(self):
        return Validation(loss=1.0, accuracy=0.5, tokens=1)

    def state(self):
        return {"taken": np.array(self._taken, np.int64)}

    def load_state(self, state):
        self._taken = int(state["taken"])
        with self._journal.open("a") as journal:
            journal.write(f"{self._taken}\n")
