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

from simulator.faults import Loss
from simulator.turn_thread import Killed, this_thread


@dataclass(eq=False)
class Host:
    """One process with its children.

    Args:
        name: for transcripts.
        died: called once, when the host dies of itself.
        tell: receives every act, for transcripts.
        dies_at: at the so manieth act it dies; 0 = it does not.
        pauses_at: likewise for a pause.
        counted: only acts with this in their name are counted for that.
        fate: what its death takes with it.
        paused: it does nothing, and does not know.
        stopped: lets a call go on that was stopped by the pause.
    """

    name: str
    died: Callable[["Host"], None]
    tell: Callable[[str], None]
    dies_at: int = 0
    pauses_at: int = 0
    counted: str = ""
    paused_for_s: float = 0.0
    fate: Loss = Loss.PROCESS
    on_pause: Callable[[], None] = lambda: None
    alive: bool = True
    paused: bool = False
    acts: int = 0
    last_act: str = ""
    stopped: Callable[[], None] | None = None
    tasks: dict[asyncio.Task[Any], None] = field(default_factory=dict)  # in order, as a set is not

    def happens(self, act: str) -> None:
        """Say what is about to be done.

        Raises:
            Killed: it is not done: the host is dead.
        """
        if not self.alive:
            raise Killed
        if self.counted not in act:
            return
        self.acts += 1
        if self.acts == self.dies_at:
            self.last_act = _DRAFT.sub("a draft", act)
            self.die(self.fate)
            raise Killed
        if self.acts == self.pauses_at:
            self.tell(f"{self.name} is paused before {_DRAFT.sub('a draft', act)}")
            self.paused = True
            PAUSED.add(self)
            NOBODY.copy().run(self.on_pause)
            asyncio.get_running_loop().call_later(
                self.paused_for_s, self._go_on, context=NOBODY.copy()
            )
            if (thread := this_thread()) is not None:
                thread.stop()
                if not self.alive:
                    raise Killed

    def die(self, fate: Loss) -> None:
        """Die, unless it is dead; whoever runs on its behalf has to be told by `Killed`."""
        if self.alive:
            self.fate = fate
            self.kill()
            NOBODY.copy().run(self.died, self)

    @property
    def may_pause(self) -> bool:
        """Whether it may still be paused."""
        return self.acts < self.pauses_at

    def _go_on(self) -> None:
        self.paused = False
        PAUSED.discard(self)
        self._resume()

    def _resume(self) -> None:
        resume, self.stopped = self.stopped, None
        if resume is not None:
            resume()

    def kill(self) -> None:
        """End every task; from here on nothing has an effect."""
        self.alive = self.paused = False
        PAUSED.discard(self)
        self._resume()
        for task in tuple(self.tasks):
            task.cancel()

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task of this host; what it starts belongs to the host too."""
        context = NOBODY.copy()
        context.run(HOST.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)


_DRAFT: Final = re.compile(r"\.\S+\.tmp")

PAUSED: Final[set[Host]] = set()
"""Those that are paused now."""

HOST: Final[ContextVar[Host | None]] = ContextVar("host", default=None)
"""On whose behalf the running code runs; None for the simulation itself."""

NOBODY: Final = copy_context()
"""The simulation's own context."""


def happens(act: str) -> None:
    """Count an act of the host that is running, if any. See `Host.happens`."""
    if (host := HOST.get()) is not None:
        host.happens(act)
