"""A simulated machine: what its processes do is counted, and may be their last act.

Everything that touches the outside says so first: `happens`. At a chosen count the host dies there,
or is paused. After its death nothing of it has an effect any more: its code only unwinds.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, Final

from services.simulator.faults import Loss


class Killed(BaseException):
    """The process is dead; nothing may catch this."""


@dataclass(eq=False)
class Host:
    """One process with its children.

    Args:
        name: for transcripts.
        died: called once, when the host dies of itself.
        tell: receives every act, for transcripts.
        dies_at: after so many acts it dies; 0 = it does not.
        pauses_at: likewise for a pause.
        fate: what its death takes with it.
        paused: it does nothing, and does not know.
    """

    name: str
    died: Callable[["Host"], None]
    tell: Callable[[str], None]
    dies_at: int = 0
    pauses_at: int = 0
    paused_for_s: float = 0.0
    fate: Loss = Loss.PROCESS
    on_pause: Callable[[], None] = lambda: None
    alive: bool = True
    paused: bool = False
    acts: int = 0
    last_act: str = ""
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def happens(self, act: str) -> None:
        """Say what is about to be done.

        Raises:
            Killed: it is not done: the host is dead.
        """
        if not self.alive:
            raise Killed
        self.acts += 1
        self.last_act = act = _DRAFT.sub("a draft", act)
        if self.acts == self.dies_at:
            self.kill()
            NOBODY.copy().run(self.died, self)
            raise Killed
        if self.acts == self.pauses_at:
            self.tell(f"{self.name} is paused before {act}")
            self.paused = True
            NOBODY.copy().run(self.on_pause)
            asyncio.get_running_loop().call_later(
                self.paused_for_s, self._go_on, context=NOBODY.copy()
            )

    def _go_on(self) -> None:
        self.paused = False

    def kill(self) -> None:
        """End every task; from here on nothing has an effect."""
        self.alive = self.paused = False
        for task in tuple(self.tasks):
            task.cancel()

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task of this host; what it starts belongs to the host too."""
        context = NOBODY.copy()
        context.run(HOST.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)


_DRAFT: Final = re.compile(r"\.\S+\.tmp")

HOST: Final[ContextVar[Host | None]] = ContextVar("host", default=None)
"""On whose behalf the running code runs; None for the simulation itself."""

NOBODY: Final = copy_context()
"""The simulation's own context."""


def happens(act: str) -> None:
    """Count an act of the host that is running, if any. See `Host.happens`."""
    if (host := HOST.get()) is not None:
        host.happens(act)
