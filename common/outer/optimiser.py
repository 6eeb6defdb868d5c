"""What an outer optimiser is: the state that it keeps in a version, and its step on a tile.

One commit's step, in the order in which `common/chain.py` takes it:

    join        per-block state, of the blocks that travelled
    step        each tile of parameters that travelled: theta, and the vectors that it touches
    settle      per-block state, once all tiles are done

All in place, single element-wise float32 operations in written order. What did not travel stays as
it is; buffers are averaged, whatever the optimiser.
"""

from collections.abc import Mapping
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from common.arrays import F32
from common.documents import Outer

State = Mapping[str, F32]
"""By name: `vectors` have a value for each of theta, `per_block` one for each block."""


class OuterOptimiser(Protocol):
    """See the module docstring.

    Args:
        outer: the run's constants.
        share: of the survivors in the federation's speed, in (0, 1].
    """

    vectors: ClassVar[tuple[str, ...]]
    """Names of the state that is like theta; zeros in version 0."""

    per_block: ClassVar[tuple[str, ...]]
    """Names of the state that has a value for each block; likewise."""

    def __init__(self, outer: Outer, share: float) -> None: ...

    def join(self, per_block: State, sent: npt.NDArray[np.int64]) -> None:
        """Take the commit's share in.

        Args:
            per_block: float32[num_blocks] each.
            sent: which blocks travelled.
        """

    def touched(self, per_block: State) -> tuple[str, ...]:
        """Return which vectors the step reads and writes on these blocks; the others stay."""

    def step(self, theta: F32, mean: F32, vectors: State, per_block: State) -> None:
        """Step on parameters that lie beside each other, whole blocks of them.

        Args:
            theta: float32[n].
            mean: of the survivors' differences, float32[n].
            vectors: those that are touched, float32[n] each.
            per_block: float32[n / BLOCK] each, after `join`; read alone.
        """

    def settle(self, per_block: State) -> None:
        """Bring the per-block state, float32[num_blocks] each, to the next version's."""


def average(theta: F32, mean: F32, share: float) -> None:
    """Theta -= share*mean, in place: the step of buffers. Arrays are float32[n]."""
    theta -= np.float32(share) * mean
