"""Mends standard input, output and error where whoever started us closed or filled them.

Daemons and schedulers close them. Python has no such streams then, and whatever is opened next, a
record of the log or a connection, gets their numbers: what a library writes "to standard error"
lands there. A disk that both lead to may be full: what is said on standard error is lost then, and
changes no exit status; what a command was asked for and cannot print is a failure.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from typing_extensions import override

_OUT: Final = 1


class _Watched(io.TextIOWrapper):
    """Remembers why it could not be written, "" while it can."""

    fault = ""

    @override
    def write(self, text: str, /) -> int:
        with self._watch():
            super().write(text)
        return len(text)

    @override
    def flush(self) -> None:
        with self._watch():
            super().flush()

    @contextmanager
    def _watch(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            self.fault = e.strerror or str(e)
            raise


class _Lossy(_Watched):
    """And loses what cannot be written."""

    @contextmanager
    @override
    def _watch(self) -> Iterator[None]:
        with suppress(OSError), super()._watch():
            yield


def open_missing() -> None:
    """Lead those that are closed to nowhere; the process's first act, before it opens anything."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            if opened != number:
                raise AssertionError(f"{opened} was free, {number} is asked for") from None
            os.set_inheritable(opened, True)
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout = _again(_Watched, sys.stdout)
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = _again(_Lossy, sys.stderr)


def _again(kind: type[_Watched], stream: io.TextIOWrapper) -> _Watched:
    encoding, errors, lines = stream.encoding, stream.errors, stream.line_buffering
    is_unbuffered = stream.write_through
    return kind(stream.detach(), encoding, errors, None, lines, is_unbuffered)


def lost() -> str:
    """Return why standard output could not be written, and lead the rest to nowhere; or ""."""
    fault = sys.stdout.fault if isinstance(sys.stdout, _Watched) else ""
    if fault:
        os.dup2(os.open(os.devnull, os.O_WRONLY), _OUT)
    return fault
