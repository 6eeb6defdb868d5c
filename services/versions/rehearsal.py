"""Tries one step before it counts: `genesis` before a run is pinned, `doctor` before a start.

What a library finds wrong only in its first step (a head too many, a table too short for the
sequence, a batch that does not fit in memory) is found here, where somebody reads it.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from common.errors import ConfigError
from common.foreign import boundary
from services.observe.amounts import human_bytes
from services.observe.process_memory import peak_bytes
from worker.training.learner import Step, Validation

_FIX = "correct settings, device or the learner; lower settings.batch where memory is short"


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What one step took.

    Args:
        tokens: of the step.
        memory_bytes: the most that this process ever held.
        device_bytes: likewise of an accelerator's memory; 0 = there is none.
    """

    loss: float
    tokens: int
    seconds: float
    memory_bytes: int
    device_bytes: int

    @property
    def sentence(self) -> str:
        """What people read."""
        device = f" and {human_bytes(self.device_bytes)} of its device" * bool(self.device_bytes)
        return (
            f"{self.tokens:,} tokens at {self.tokens / self.seconds:,.0f} tokens per second, with "
            f"{human_bytes(self.memory_bytes)} of memory{device}, loss {self.loss:.3f} nats"
        )


def rehearse(
    take: Callable[[], Step | Validation | None],
    *,
    again: bool = False,
    now_s: Callable[[], float] = time.perf_counter,
) -> Rehearsal | None:
    """Take one step, and measure it; None where the learner cannot tell without data.

    Args:
        take: the learner's `rehearse`, a `train` at learning rate 0, or `evaluate`.
        again: time a second one: the first makes room, and compiles.
        now_s: a clock.

    Raises:
        ConfigError: it fails, or its loss is no number.
    """
    with boundary("settings", "one step fails", _FIX, place=True):
        start_s = now_s()
        step = take()
        if step is None:
            return None
        if again:
            start_s = now_s()
            step = take() or step
        seconds = now_s() - start_s
    if not math.isfinite(step.loss):
        raise ConfigError(f"settings: the loss of one step is {step.loss}: {_FIX}")
    return Rehearsal(step.loss, step.tokens, max(seconds, 1e-9), peak_bytes(), _device_bytes())


def _device_bytes() -> int:
    """Return the most of an accelerator's memory that torch took, if the learner uses torch."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.max_memory_reserved())
