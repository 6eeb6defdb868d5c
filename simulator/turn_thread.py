"""A call in a thread of its own that takes turns with whoever started it: only one of them runs.

So a host can be paused in the middle of what does not await, as a real process can.
"""

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Final


class Killed(BaseException):
    """The process is dead; nothing may catch this."""


class TurnThread:
    """See the module docstring. Its result or error stands here once `go_on` returned True."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._context = copy_context()
        self._loop = asyncio.get_running_loop()
        self._mine: threading.Semaphore
        self._theirs: threading.Semaphore
        self._thread: threading.Thread | None = None
        self._is_done = False
        self.result: Any = None
        self.error: BaseException | None = None

    def go_on(self) -> bool:
        """Run until the call is done, which is True, or stops."""
        if self._thread is None:
            self._mine, self._theirs = threading.Semaphore(0), threading.Semaphore(0)
            self._thread = threading.Thread(target=self._in_thread)
            self._thread.start()
        else:
            self._mine.release()
        self._theirs.acquire()
        if self._is_done:
            self._thread.join()
        return self._is_done

    def run(self) -> None:
        """Run the call here, to its end."""
        try:
            self.result = self._call()
        except (Exception, Killed) as e:
            self.error = e

    def _in_thread(self) -> None:
        _HERE.thread = self
        asyncio._set_running_loop(self._loop)
        self._context.run(self.run)
        self._is_done = True
        self._theirs.release()

    def stop(self) -> None:
        """Give the turn back; return at the next `go_on`. Called by what runs in the thread."""
        self._theirs.release()
        self._mine.acquire()


_HERE: Final = threading.local()


def this_thread() -> TurnThread | None:
    """Return the call in whose thread this runs, if any."""
    return getattr(_HERE, "thread", None)
