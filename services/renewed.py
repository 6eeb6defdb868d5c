"""Files that change while a process runs are read again; a channel takes up the new certificate."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import grpc
from typing_extensions import override

from common.errors import ConfigError
from services.channels import dial

log = logging.getLogger(__name__)

T = TypeVar("T")


class Renewed(Generic[T]):
    """What is made of some files, made again when one of them changes.

    New files that are not fit (half copied, say) are told once and tried again; what was made last
    stays in use.

    Args:
        what: the files are called in the log.
        make: reads the files; its ConfigError is raised by the constructor alone.
    """

    def __init__(self, what: str, paths: Sequence[Path], make: Callable[[], T]) -> None:
        self._what = what
        self._paths = paths
        self._make = make
        self._lock = threading.Lock()
        self._stamp = self._read_stamp()
        self._problem = ""
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
        try:
            self._make()
        except (ConfigError, OSError) as e:
            return str(e)
        return ""

    def _renew(self, stamp: object) -> None:
        try:
            self._made = self._make()
        except (ConfigError, OSError) as e:
            if str(e) != self._problem:
                log.warning("%s: changed and not used, the last good one stays: %s", self._what, e)
            self._problem = str(e)
            return
        self._stamp, self._problem = stamp, ""
        log.info("%s: read again", self._what)

    def _read_stamp(self) -> object:
        try:
            return tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in map(os.stat, self._paths))
        except OSError:
            return None


class _Method:
    """One method of a `RenewedChannel`: looks for the channel at each call."""

    def __init__(self, current: Callable[[], Any]) -> None:
        self._current = current

    def __call__(self, *a: Any, **k: Any) -> Any:
        return self._current()(*a, **k)

    def future(self, *a: Any, **k: Any) -> Any:
        """Call without waiting."""
        return self._current().future(*a, **k)


class RenewedChannel(grpc.Channel):
    """A channel whose calls use the newest certificate; calls under way end on the older one."""

    def __init__(self, target: str, credentials: Renewed[grpc.ChannelCredentials]) -> None:
        self._target = target
        self._credentials = credentials
        self._used = credentials.read()
        self._channel = dial(target, self._used)
        self._lock = threading.Lock()

    @property
    def target(self) -> str:
        """HOST:PORT that is dialled."""
        return self._target

    @property
    def credentials(self) -> Renewed[grpc.ChannelCredentials]:
        """What it is dialled with."""
        return self._credentials

    def _current(self) -> grpc.Channel:
        with self._lock:
            newest = self._credentials.read()
            if newest is not self._used:
                self._used, self._channel = newest, dial(self._target, newest)
            return self._channel

    @override
    def unary_unary(self, *a: Any, **k: Any) -> Any:
        """As in `grpc.Channel`."""
        return _Method(lambda: self._current().unary_unary(*a, **k))

    @override
    def unary_stream(self, *a: Any, **k: Any) -> Any:
        """As in `grpc.Channel`."""
        return _Method(lambda: self._current().unary_stream(*a, **k))

    @override
    def stream_unary(self, *a: Any, **k: Any) -> Any:
        """As in `grpc.Channel`."""
        return _Method(lambda: self._current().stream_unary(*a, **k))

    @override
    def stream_stream(self, *a: Any, **k: Any) -> Any:
        """As in `grpc.Channel`."""
        return _Method(lambda: self._current().stream_stream(*a, **k))

    @override
    def subscribe(self, *a: Any, **k: Any) -> None:
        """As in `grpc.Channel`, of the present connection."""
        self._current().subscribe(*a, **k)

    @override
    def unsubscribe(self, *a: Any) -> None:
        """As in `grpc.Channel`, of the present connection."""
        self._current().unsubscribe(*a)

    @override
    def close(self) -> None:
        """End every call."""
        self._channel.close()

    @override
    def __enter__(self) -> Self:
        return self

    @override
    def __exit__(self, *_: object) -> None:
        self.close()
