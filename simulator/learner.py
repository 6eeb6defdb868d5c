"""A learner whose work can be counted: a local step adds one to one value of each block, its own.

So whatever is committed, frozen or pending of a worker is a whole number, and stands in one place.
Beside its own state, which a roll-back takes back, it keeps books that go on for ever: what became
of the steps that no commit holds. They lie with the state, so a restart finds both alike. Steps are
numbered from 1 on, through roll-backs too: what a restart lost is no step, and its numbers come
again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from typing_extensions import override

from common import canonical
from common.arrays import F32
from common.schema import BLOCK
from worker.training.learner import Learner, LearnerContext, State, Step, Tensor, Validation


@dataclass(frozen=True, slots=True)
class Books:
    """What became of steps.

    Args:
        spent: given up since the newest roll-back, by the round that had frozen them, "" = none.
        spent_before: given up until then and by it; where the log says that such a round committed
            them, they were not: the worker went from before that commit to behind the roll-back.
        undone: all steps that the learner's own state had counted when a roll-back ended it.
        pending: numbers of the steps that no round holds.
        frozen: of those that a round holds, by round.
        closed: number of the newest step that a round held which took its work off the parameters
            since the newest roll-back, by round.
    """

    spent: Mapping[str, int] = field(default_factory=dict)
    spent_before: Mapping[str, int] = field(default_factory=dict)
    undone: int = 0
    pending: tuple[int, ...] = ()
    frozen: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    closed: Mapping[str, int] = field(default_factory=dict)

    def step(self, counted: int) -> "Books":
        """Return the books after a step, the learner's own count of which is `counted`."""
        return replace(self, pending=(*self.pending, self.undone + counted))

    def freeze(self, round_id: str) -> "Books":
        """Return the books after a round closed."""
        return replace(self, pending=(), frozen={**self.frozen, round_id: self.pending})

    def release(self, round_id: str, fate: str, steps: int) -> "Books":
        """Return the books after a round ended; that it is not here changes nothing.

        Args:
            steps: that were frozen for it.
        """
        frozen = dict(self.frozen)
        numbers = frozen.pop(round_id, ())
        pending = tuple(sorted((*self.pending, *numbers))) if fate == "free" else self.pending
        books = replace(self, pending=pending, frozen=frozen)
        if numbers and fate != "free":
            books = replace(books, closed={**self.closed, round_id: numbers[-1]})
        return books.spend(round_id, steps) if fate == "spent" else books

    def spend(self, round_id: str, steps: int) -> "Books":
        """Return the books after work was given up."""
        return replace(self, spent=_sum(self.spent, {round_id: steps}))

    def roll_back(self, counted: int) -> "Books":
        """Return the books after a roll-back, to which everything has been given up."""
        return Books({}, _sum(self.spent_before, self.spent), self.undone + counted)


def _sum(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    return {key: a.get(key, 0) + b.get(key, 0) for key in sorted({*a, *b})}


class Counting(Learner):
    """See the module docstring.

    Args:
        num_values: length of its one parameter.
        index: of the value that it counts in, in every block.
        num_averaged: length of its one buffer; 0 = it has none.

    Attributes:
        steps: in the life that its state tells of: those that a kill lost, or a roll-back took
            back, are not in it.
    """

    def __init__(self, num_values: int, index: int, num_averaged: int = 0) -> None:
        self._values: F32 = np.zeros(num_values, np.float32)
        self._averaged: F32 = np.zeros(num_averaged, np.float32)
        self.index = index
        self.steps = 0
        self.books = Books()

    @override
    def parameters(self) -> dict[str, Tensor]:
        return {"counts": self._values}

    @override
    def buffers(self) -> dict[str, Tensor]:
        return {"averaged": self._averaged} if len(self._averaged) else {}

    @override
    def train(self, lr: float) -> Step:
        self._values[self.index :: BLOCK] += 1
        self._averaged[self.index :: BLOCK] += 1
        self.steps += 1
        self.books = self.books.step(self.steps)
        return Step(loss=1.0, tokens=10, samples=1)

    @override
    def evaluate(self) -> Validation:
        return Validation(loss=1.0, accuracy=0.5, tokens=1)

    @override
    def state(self) -> State:
        books = np.frombuffer(canonical.encode(self.books), np.uint8)
        return {"steps": np.array(self.steps), "books": books}

    @override
    def load_state(self, state: State) -> None:
        self.steps = int(state["steps"])
        self.books = canonical.decode(state["books"].tobytes(), Books)

    @property
    def counts(self) -> F32:
        """The live values that this worker counts in, float32[num_blocks]."""
        return np.concatenate([x[self.index :: BLOCK] for x in (self._values, self._averaged)])


def build(context: LearnerContext) -> Counting:
    """Build from `settings.num_values`, `settings.num_averaged` and `data.index`."""
    index = 0 if context.data is None else context.data["index"]
    num_values, num_averaged = (context.settings[n] for n in ("num_values", "num_averaged"))
    assert isinstance(index, int)
    assert isinstance(num_values, int)
    assert isinstance(num_averaged, int)
    return Counting(num_values, index, num_averaged)
