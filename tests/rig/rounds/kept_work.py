"""One worker's own work, by docs/arithmetic.md: parameters, residual, and what became of it."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from common.documents import Numbers, Plan
from tests.rig.rounds.arithmetic import BLOCK, F32, F64
from tests.rig.workers.walking_learner import SCHEMA


def vector() -> F64:
    return np.zeros(SCHEMA.length)


def blocks_of(x: Any) -> Any:
    return x.reshape(-1, BLOCK)


@dataclass
class Sent:
    """What a round took of the work. Args: wire: w*D, of the blocks that travelled."""

    blocks: list[int]
    residual: F32
    wire: F64
    read: F64


@dataclass
class Round:
    """A round that is open for this worker. Args: at_close: of the parameters."""

    plan: Plan
    at_close: F32
    steps: int
    numbers: Numbers
    exposed: Sent | None = None


@dataclass
class Kept:
    """The reference: one worker's own.

    Args:
        e: None = zero.
        pending: local steps that no round holds.
        trained, contributed, spent: sums of work, float64[length].
        wire, read: of all that was encoded: H . signs . w*D, and what others read of it.
    """

    theta: F32
    base: F32
    e: F32 | None = None
    pending: int = 0
    round: Round | None = None
    trained: F64 = field(default_factory=vector)
    contributed: F64 = field(default_factory=vector)
    spent: F64 = field(default_factory=vector)
    wire: F64 = field(default_factory=vector)
    read: F64 = field(default_factory=vector)

    def copy(self) -> "Kept":
        return replace(self, **{k: v.copy() for k, v in vars(self).items() if hasattr(v, "copy")})

    def step(self, delta: F32) -> None:
        self.theta = self.theta + delta
        self.trained += delta
        self.pending += 1

    def free(self) -> None:
        assert self.round is not None
        self.pending += self.round.steps
        self.round = None

    def spend(self) -> None:
        """What travelled leaves the parameters, or everything, and what it rounded off stays."""
        closed, self.round = self.round, None
        assert closed is not None
        anchor = closed.at_close
        if closed.exposed is not None:
            anchor = self._anchor(closed)
            self._encoded(closed.exposed)
        self.theta = self.theta + (self.base - anchor)
        self.spent += anchor.astype(np.float64) - self.base

    def contribute(self, head: F32) -> None:
        closed, self.round = self.round, None
        assert closed is not None
        assert closed.exposed is not None
        anchor = self._anchor(closed)
        self.contributed += anchor.astype(np.float64) - self.base
        self._encoded(closed.exposed)
        self.theta = self.theta + (head - anchor)
        self.base = head

    def merge(self, head: F32) -> None:
        self.theta = self.theta + (head - self.base)
        self.base = head

    def _anchor(self, closed: Round) -> F32:
        """Return theta at close where it travelled, and the base elsewhere."""
        assert closed.exposed is not None
        anchor = self.base.copy()
        for block in closed.exposed.blocks:
            blocks_of(anchor)[block] = blocks_of(closed.at_close)[block]
        return anchor

    def _encoded(self, sent: Sent) -> None:
        self.e = sent.residual
        self.wire += sent.wire.reshape(-1)
        self.read += sent.read.reshape(-1)
