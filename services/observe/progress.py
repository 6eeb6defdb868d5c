"""Shows how far something is that takes longer than two seconds: one mechanism for all of them.

On a terminal one line is written over and is gone at the end; elsewhere, and in the log of a
process, a line comes every ten seconds. A line says what is done of how much, the share, and the
time left at the pace so far; where nobody knows how much there is, how long it has taken.
"""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final, Protocol

from services.observe.amounts import human_bytes, rough_seconds

BYTES: Final = "bytes"


@dataclass(slots=True)
class ShownProgress:
    """How far one thing is.

    Args:
        what: is done: "writing the first version".
        total: how much there is of it; 0 = nobody knows.
        unit: `BYTES`, or a noun in the plural.
        began_s: when it began.
        done: so far; what was done before it began counts for no pace.
        note: what people should read besides.
    """

    what: str
    total: float
    unit: str
    began_s: float
    done: float = 0.0
    note: str = ""
    before: float = 0.0

    def advance(self, num: float = 1) -> None:
        """So much more is done."""
        self.done += num

    def line(self, now_s: float) -> str:
        """Return how far it is."""
        took_s = max(0.0, now_s - self.began_s)
        parts = [self._amount(), *self._share(took_s), self.note]
        if not self.total:
            parts.insert(1, rough_seconds(took_s))
        return f"{self.what}: {', '.join(part for part in parts if part)}"

    def _amount(self) -> str:
        if self.unit == BYTES:
            of = f" of {human_bytes(round(self.total))}" if self.total else ""
            return f"{human_bytes(round(self.done))}{of}" if self.done or of else ""
        of = f" of {self.total:.0f}" if self.total else ""
        return f"{int(self.done)}{of} {self.unit}" if self.done or of else ""

    def _share(self, took_s: float) -> Iterator[str]:
        if not self.total:
            return
        done = min(self.done, self.total)
        yield f"{int(100 * done / self.total)}%"
        if done > self.before:
            left_s = took_s * (self.total - done) / (done - self.before)
            yield f"{rough_seconds(left_s)} left"


class Outlet(Protocol):
    """Where lines go, and how often."""

    first_s: float
    every_s: float

    def say(self, line: str) -> None:
        """Show a line."""

    def end(self) -> None:
        """No other line comes."""


class Screen:
    """One line of a terminal, written over.

    Args:
        columns: how many there are.
    """

    first_s = 2.0
    every_s = 0.5

    def __init__(self, stream: IO[str], columns: int) -> None:
        self._stream = stream
        self._columns = columns
        self._is_there = False

    def say(self, line: str) -> None:
        """Replace the line before."""
        self._is_there = True
        self._write(f"\r{line[: self._columns - 1]}\x1b[K")

    def end(self) -> None:
        """Leave an empty line to whoever writes next."""
        if self._is_there:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Lines:
    """A line every ten seconds: for files, pipes and logs."""

    first_s = 10.0
    every_s = 10.0

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def say(self, line: str) -> None:
        """Write one more."""
        self._write(line)

    def end(self) -> None:
        """Nothing is to be cleared."""


def outlet(stream: IO[str] | None = None) -> Outlet:
    """Return the one for a command's stream, by default standard error."""
    out = sys.stderr if stream is None else stream
    if out.isatty():
        return Screen(out, shutil.get_terminal_size().columns)

    def write(line: str) -> None:
        out.write(line + "\n")
        out.flush()

    return Lines(write)


def tell(
    progress: ShownProgress,
    out: Outlet,
    now_s: Callable[[], float],
    wait: Callable[[float], bool],
) -> None:
    """Say how far it is until it is over.

    Args:
        wait: for so many seconds, or until it is over; returns whether it is.
    """
    pause_s = out.first_s
    while not wait(pause_s):
        out.say(progress.line(now_s()))
        pause_s = out.every_s
    out.end()


@contextmanager
def shown(
    what: str,
    total: float = 0,
    unit: str = BYTES,
    *,
    out: Outlet | None,
    done: float = 0,
) -> Iterator[ShownProgress]:
    """Show how far the block is, whatever it waits for: a thread tells.

    Args:
        out: where; None = nowhere.
        done: before it began.
    """
    progress = ShownProgress(what, total, unit, time.monotonic(), done=done, before=done)
    if out is None:
        yield progress
        return
    over = threading.Event()
    arguments = (progress, out, time.monotonic, over.wait)
    telling = threading.Thread(target=tell, args=arguments, daemon=True, name="progress")
    telling.start()
    try:
        yield progress
    finally:
        over.set()
        telling.join()
