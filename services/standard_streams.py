"""Standard input, output and error, where whoever started this process has closed them.

Daemons and schedulers do. Python has no such streams then, and whatever is opened next, a record of
the log or a connection, gets their numbers: what a library writes "to standard error" lands there.
"""

import os
import sys


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
