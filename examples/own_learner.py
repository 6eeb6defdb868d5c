"""A learner of your own, with numpy alone: neither torch nor transformers.

A run trains it with `learner: examples.own_learner:build`. It predicts the next byte from the
two before it: two embeddings are added, passed through tanh, and mapped to 256 scores; plain SGD.
All that a federation asks of a learner is here, in this order: parameters that change in
place, a step, a validation, and state as plain arrays.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from crosscloud import (
    BYTE_ENCODER,
    Learner,
    LearnerContext,
    State,
    Step,
    TextData,
    Validation,
)

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]


def build(context: LearnerContext) -> Learner:
    """Build the learner; settings: width (default 32), batch (16), sequence (32)."""
    return TwoByteModel(context)


class TwoByteModel(Learner):
    """scores = tanh(first[a] + second[b]) @ out."""

    def __init__(self, context: LearnerContext) -> None:
        settings = {"width": 32, "batch": 16, "sequence": 32, **context.settings}
        generator = np.random.default_rng(context.seed)
        shapes = {"first": (256, settings["width"]), "second": (256, settings["width"])}
        self._weights: dict[str, F32] = {
            n: generator.normal(0, 0.5, s).astype(np.float32) for n, s in shapes.items()
        }
        self._weights["out"] = np.zeros((settings["width"], 256), np.float32)
        self._data = TextData(
            context.data,
            BYTE_ENCODER,
            batch=settings["batch"],
            sequence=settings["sequence"],
            seed=context.seed,
            name=context.name,
            order=context.order,
            folder=context.folder,
        )

    @override
    def parameters(self) -> Mapping[str, F32]:
        """Return the three matrices, always the same arrays."""
        return self._weights

    @override
    def train(self, lr: float) -> Step:
        """Take one step of SGD; every line changes the arrays in place."""
        windows = self._data.batches().take()
        a, b, target = windows[:, :-2].ravel(), windows[:, 1:-1].ravel(), windows[:, 2:].ravel()
        hidden, probabilities = self._forward(a, b)
        every = np.arange(len(target))
        loss = float(-np.log(probabilities[every, target] + 1e-12).mean())
        probabilities[every, target] -= 1  # now the gradient of the scores, times len(target)
        probabilities *= np.float32(lr / len(target))
        back = (probabilities @ self._weights["out"].T) * (1 - hidden * hidden)
        self._weights["out"] -= hidden.T @ probabilities
        np.subtract.at(self._weights["first"], a, back)
        np.subtract.at(self._weights["second"], b, back)
        return Step(loss=loss, tokens=len(target), samples=len(windows))

    @override
    def evaluate(self) -> Validation:
        """Predict every third and later byte of each validation window."""
        windows = self._data.windows()
        target = windows[:, 2:].ravel()
        _, probabilities = self._forward(windows[:, :-2].ravel(), windows[:, 1:-1].ravel())
        right = probabilities[np.arange(len(target)), target]
        return Validation(
            loss=float(-np.log(right + 1e-12).mean()),
            accuracy=float((probabilities.argmax(1) == target).mean()),
            tokens=len(target),
        )

    def _forward(self, a: I64, b: I64) -> tuple[F32, F32]:
        """Return hidden float32[n, width] and probabilities float32[n, 256], for int64[n] twice."""
        hidden = np.tanh(self._weights["first"][a] + self._weights["second"][b])
        scores = hidden @ self._weights["out"]
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        return hidden, scores

    @override
    def remarks(self) -> Sequence[str]:
        """Return what was read of the text, for the log and `crosscloud doctor`."""
        return self._data.remarks

    @override
    def state(self) -> State:
        """Return the data cursor: SGD itself remembers nothing."""
        return {f"cursor.{k}": v for k, v in self._data.batches().state().items()}

    @override
    def load_state(self, state: State) -> None:
        """Go on where `state` was taken."""
        self._data.batches().load_state({k.removeprefix("cursor."): v for k, v in state.items()})
