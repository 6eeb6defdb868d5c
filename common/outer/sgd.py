"""The outer step without state: theta -= (eta*share)*mean."""

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from common.arrays import F32
from common.documents import Outer
from common.outer.optimiser import State


class Sgd:
    """FedOpt (Reddi et al. 2021, algorithm 1) with SGD; see `OuterOptimiser`."""

    vectors: ClassVar[tuple[str, ...]] = ()
    per_block: ClassVar[tuple[str, ...]] = ()

    def __init__(self, outer: Outer, share: float) -> None:
        self._rate = np.float32(outer.learning_rate * share)

    def join(self, per_block: State, sent: npt.NDArray[np.int64]) -> None:
        """There is no state."""

    def touched(self, per_block: State) -> tuple[str, ...]:
        """There is no state."""
        return ()

    def step(self, theta: F32, mean: F32, vectors: State, per_block: State) -> None:
        """Theta -= (eta*share)*mean."""
        theta -= self._rate * mean

    def settle(self, per_block: State) -> None:
        """There is no state."""
