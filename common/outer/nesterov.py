"""Nesterov's momentum, delayed until the cohorts that stepped are as large as the federation.

    acc += share*mean;  Phi += share;  theta -= (eta*share)*mean
    where Phi >= 1:  m = mu*m + acc/Phi;  theta -= (eta*mu)*m;  acc = 0;  Phi = 0

Each block has a Phi of its own. With share = 1 it is the ordinary one.
"""

import itertools
from collections.abc import Iterator
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from common.arrays import F32
from common.documents import Outer
from common.outer.optimiser import State
from common.schema import BLOCK

_MOMENTUM: Final = "momentum"
_ACC: Final = "acc"
_SHARE: Final = "share"


class Nesterov:
    """DiLoCo's outer step (Douillard et al. 2023); see `OuterOptimiser`.

    momentum: m. acc: sum of share*mean since the last momentum step. share: Phi, sum of shares
    since a block's last momentum step.
    """

    vectors: ClassVar[tuple[str, ...]] = (_MOMENTUM, _ACC)
    per_block: ClassVar[tuple[str, ...]] = (_SHARE,)

    def __init__(self, outer: Outer, share: float) -> None:
        self._share, self._mu = share, np.float32(outer.momentum)
        self._rate = np.float32(outer.learning_rate * share)
        self._momentum_rate = np.float32(outer.learning_rate * outer.momentum)

    def join(self, per_block: State, sent: npt.NDArray[np.int64]) -> None:
        """Phi += share."""
        phi = per_block[_SHARE]
        phi[sent] = phi[sent].astype(np.float64) + self._share

    def touched(self, per_block: State) -> tuple[str, ...]:
        """Return acc, and momentum where any of these blocks takes a momentum step."""
        return (_MOMENTUM, _ACC) if _completes(per_block[_SHARE]).any() else (_ACC,)

    def step(self, theta: F32, mean: F32, vectors: State, per_block: State) -> None:
        """Descend and accumulate; then the momentum step, where it is due."""
        acc = vectors[_ACC]
        theta -= self._rate * mean
        acc += np.float32(self._share) * mean
        for first, last, phi in _due(per_block[_SHARE]):
            at = slice(first * BLOCK, last * BLOCK)
            self._complete(theta[at], vectors[_MOMENTUM][at], acc[at], phi)

    def settle(self, per_block: State) -> None:
        """Phi = 0 where the momentum step was taken."""
        phi = per_block[_SHARE]
        phi[_completes(phi)] = 0

    def _complete(self, theta: F32, momentum: F32, acc: F32, phi: np.float32) -> None:
        momentum *= self._mu
        momentum += acc / phi
        theta -= self._momentum_rate * momentum
        acc.fill(0)


def _completes(phi: F32) -> npt.NDArray[np.bool_]:
    """Return which blocks take the momentum step, bool like `phi`."""
    return np.greater_equal(phi, 1)


def _due(phi: F32) -> Iterator[tuple[int, int, np.float32]]:
    """Yield (first, last, Phi) of neighbouring blocks of one Phi that take the momentum step."""
    if not len(phi):
        return
    boundaries = [0, *(np.flatnonzero(np.diff(phi)) + 1).tolist(), len(phi)]
    for first, last in itertools.pairwise(boundaries):
        if phi[first] >= 1:
            yield first, last, phi[first]
