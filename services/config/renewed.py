"""Reads files again that change while a process runs; unfit ones change nothing."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from common.errors import ConfigError, OutOfDescriptorsError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Renewed(Generic[T]):
    """What is made of some files, made again when one of them changes.

    New files that are not fit (half copied, say) are told once each and tried again; what was made
    last stays in use.

    Args:
        what: the files are called in the log.
        make: reads the files; its ConfigError is raised by the constructor alone.
        insists: try the same unfit files again: a certificate becomes valid by the clock alone.
    """

    def __init__(
        self, what: str, paths: Sequence[Path], make: Callable[[], T], *, insists: bool = True
    ) -> None:
        self._what = what
        self._paths = paths
        self._make = make
        self._insists = insists
        self._lock = threading.Lock()
        self._stamp = self._read_stamp()
        self._problem: object = None
        self._made = make()

    def read(self) -> T:
        """Return what the files make now, or made when they were last fit."""
        with self._lock:
            stamp = self._read_stamp()
            if stamp != self._stamp:
                self._renew(stamp)
            return self._made

    def fault(self) -> str:
        """Return what is wrong with the files by now, an expired certificate say; "" if nothing."""
        return fault_of(self._make)

    def _renew(self, stamp: object) -> None:
        try:
            self._made = self._make()
        except OutOfDescriptorsError:
            return  # a change waits until it can be read
        except (ConfigError, OSError) as e:
            if (stamp, str(e)) != self._problem:
                last = f"the last good one{self._num_names()} stays"
                log.warning("%s: changed and not used, %s: %s", self._what, last, e)
            self._problem = stamp, str(e)
            if not self._insists:
                self._stamp = stamp
            return
        self._stamp, self._problem = stamp, None
        log.info("%s: read again%s", self._what, self._num_names())

    def _num_names(self) -> str:
        return f" ({len(self._made)} names)" if isinstance(self._made, dict) else ""

    def _read_stamp(self) -> object:
        try:
            return tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in map(os.stat, self._paths))
        except OSError:
            return None


def fault_of(make: Callable[[], object]) -> str:
    """Return why something cannot be made of its files by now; "" if it can."""
    try:
        make()
    except (ConfigError, OSError) as e:
        return str(e)
    return ""
