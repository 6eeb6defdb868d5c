"""The outer step, in place on arrays: single element-wise float32 operations in written order.

Nothing here may become a reduction, a matrix product, a fused operation or a call into torch: every
replica must get the same bits. Scalars are float64, rounded to float32 once.

    sgd         theta -= (eta*share)*mean
    nesterov    acc += share*mean;  Phi += share;  theta -= (eta*share)*mean
                where Phi >= 1:  m = mu*m + acc/Phi;  theta -= (eta*mu)*m;  acc = 0;  Phi = 0
    buffers     theta -= share*mean

Nesterov is delayed: it takes a momentum step only when cohorts that together are as large as the
federation have stepped. With share = 1 it is the ordinary one.
"""

from dataclasses import dataclass

import numpy as np

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
        share: of the survivors in the federation's speed, in (0, 1].
        learning_rate: eta.
        momentum: mu.
        phi: Phi with this share added; a float32.
    """

    share: float
    learning_rate: float
    momentum: float
    phi: float

    @property
    def completes(self) -> bool:
        """Whether this commit takes the momentum step."""
        return self.phi >= 1

    @property
    def next_phi(self) -> float:
        """Phi of the next version."""
        return 0.0 if self.completes else self.phi

    def descend(self, theta: F32, mean: F32) -> None:
        """Theta -= (eta*share)*mean, in place. Arrays are float32[n]."""
        theta -= np.float32(self.learning_rate * self.share) * mean

    def accumulate(self, acc: F32, mean: F32) -> None:
        """Acc += share*mean, in place. Arrays are float32[n]."""
        acc += np.float32(self.share) * mean

    def complete(self, theta: F32, momentum: F32, acc: F32) -> None:
        """Take the momentum step, in place; acc becomes 0. Arrays are float32[n]."""
        momentum *= np.float32(self.momentum)
        momentum += acc / np.float32(self.phi)
        theta -= np.float32(self.learning_rate * self.momentum) * momentum
        acc.fill(0)

    def average(self, theta: F32, mean: F32) -> None:
        """Theta -= share*mean, in place: the step of buffers. Arrays are float32[n]."""
        theta -= np.float32(self.share) * mean


def outer_step(outer: Outer, share: float, phi: float) -> OuterStep:
    """Return the step of a commit on a version whose Phi is `phi`."""
    moved = float(np.float32(phi + share)) if has_momentum(outer) else 0.0
    return OuterStep(share, outer.learning_rate, outer.momentum, moved)
