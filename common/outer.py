"""The outer step, in place on arrays: single element-wise float32 operations in written order.

Nothing here may become a reduction, a matrix product, a fused operation or a call into torch: every
replica must get the same bits. Scalars are float64, rounded to float32 once.

    sgd         theta -= (eta*share)*mean
    nesterov    acc += share*mean;  Phi += share;  theta -= (eta*share)*mean
                where Phi >= 1:  m = mu*m + acc/Phi;  theta -= (eta*mu)*m;  acc = 0;  Phi = 0
    buffers     theta -= share*mean

All of it only for the blocks that travelled; each has a Phi of its own.

Nesterov is delayed: it takes a momentum step only when cohorts that together are as large as the
federation have stepped. With share = 1 it is the ordinary one.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.arrays import F32
from common.documents import Outer
from common.errors import ConfigError


def has_momentum(outer: Outer) -> bool:
    """Say whether the version keeps momentum and acc.

    Raises:
        ConfigError: there is no such optimiser.
    """
    if outer.kind not in ("sgd", "nesterov"):
        raise ConfigError(f"outer optimiser is {outer.kind!r}, must be sgd or nesterov")
    return outer.kind == "nesterov"


@dataclass(frozen=True, slots=True)
class OuterStep:
    """One commit's step on any part of the vector.

    Args:
        outer: the run's.
        share: of the survivors in the federation's speed, in (0, 1].
    """

    outer: Outer
    share: float

    def join(self, phi: F32, blocks: npt.NDArray[np.int64]) -> None:
        """Phi += share for the blocks that travelled, in place; float32[num_blocks]."""
        phi[blocks] = phi[blocks].astype(np.float64) + self.share

    def completes(self, phi: F32) -> npt.NDArray[np.bool_]:
        """Return which blocks take the momentum step, bool like `phi`."""
        return np.greater_equal(phi, 1)

    def next_phi(self, phi: F32) -> F32:
        """Return Phi of the next version, float32[num_blocks]."""
        return np.where(self.completes(phi), np.float32(0), phi)

    def descend(self, theta: F32, mean: F32) -> None:
        """Theta -= (eta*share)*mean, in place. Arrays are float32[n]."""
        theta -= np.float32(self.outer.learning_rate * self.share) * mean

    def accumulate(self, acc: F32, mean: F32) -> None:
        """Acc += share*mean, in place. Arrays are float32[n]."""
        acc += np.float32(self.share) * mean

    def complete(self, theta: F32, momentum: F32, acc: F32, phi: np.float32) -> None:
        """Take the momentum step, in place; acc becomes 0. Arrays are float32[n]."""
        momentum *= np.float32(self.outer.momentum)
        momentum += acc / phi
        theta -= np.float32(self.outer.learning_rate * self.outer.momentum) * momentum
        acc.fill(0)

    def average(self, theta: F32, mean: F32) -> None:
        """Theta -= share*mean, in place: the step of buffers. Arrays are float32[n]."""
        theta -= np.float32(self.share) * mean
