"""Handles SIGTERM, Ctrl-C, SIGHUP from a process's first line to its last.

`begin` is the command line's first act: from then on a signal raises `ToldToEndError` where the
main thread is, so that what is half done is undone on the way out. A process with an event loop
takes the signals over, and drains (`told.py`).

A thread sees each signal, too, also where the main thread hears nothing because it sits in a
library: it ends the process by force when the time is up that `within` states. That costs nothing
but what was not saved; children read the end of their line (`child.py`). A second signal changes
nothing: some supervisors send two at once.

SIGHUP is what a process gets whose terminal is gone, an ended ssh session say: it drains then, too,
unless it was started with it ignored, as `nohup` does.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

from common.errors import ToldToEndError
from services.process.exit_status import Exit

log = logging.getLogger(__name__)

END_S: Final = 10.0
"""How long a process that states nothing else may take to end."""

NUMBERS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Handler = Callable[[int, FrameType | None], None]


class _Force:
    """Ends the process `within_s` after the first signal, if it is still there then."""

    def __init__(self) -> None:
        self.within_s = END_S
        numbers, heard = os.pipe()
        os.set_blocking(heard, False)
        signal.set_wakeup_fd(heard, warn_on_full_buffer=False)
        threading.Thread(target=self._run, args=(numbers,), daemon=True, name="signals").start()

    def _run(self, numbers: int) -> None:
        while os.read(numbers, 1)[0] not in NUMBERS:
            pass
        since_s = time.monotonic()
        while time.monotonic() < since_s + self.within_s:  # which may change meanwhile
            time.sleep(0.1)
        log.error("not at its end %g s after it was told to: it is ended by force", self.within_s)
        os._exit(Exit.TOLD)


_forces: Final[list[_Force]] = []
"""One at most, as a process has one table of signal handlers."""


def begin() -> None:
    """Let these signals raise `ToldToEndError` in the main thread, which calls this."""
    if not _forces:
        _forces.append(_Force())
    handle(_raise)


def within(seconds: float) -> None:
    """State how long this process may take to end after a signal; inf = as long as it likes."""
    for force in _forces:
        force.within_s = seconds


def finish() -> None:
    """From now on a signal changes nothing: this process is at its end."""
    handle(ignore)


def handle(handler: Handler) -> None:
    """Let `handler` be called for these signals."""
    for number in heard():
        signal.signal(number, handler)


def hold_back() -> None:
    """Let these signals wait, for this thread and what it forks."""
    signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)


def let_go() -> None:
    """Let them come; so does one that waited."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)


def default() -> None:
    """Let them end this process, as they end any other."""
    for number in heard():
        signal.signal(number, signal.SIG_DFL)
    let_go()


def heard() -> Iterator[signal.Signals]:
    """Yield the signals that end this process: not SIGHUP where it was started with it ignored."""
    for number in NUMBERS:
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            yield number


def ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing. Not SIG_IGN, which a process that we start would inherit."""


def _raise(number: int, frame: FrameType | None) -> None:
    handle(ignore)  # another one must not tear the undoing
    raise ToldToEndError
