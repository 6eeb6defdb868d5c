"""Calls under way by caller: who is taken off the member list is cut off at once."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from services.identity import MemberList

_INTERVAL_S: Final = 0.5


class Calls:
    """The open calls of one server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, list[Any]] = {}

    @contextmanager
    def by(self, name: str, context: Any) -> Iterator[None]:
        """Hold a call of `name` for as long as the block lasts."""
        with self._lock:
            self._open.setdefault(name, []).append(context)
        try:
            yield
        finally:
            with self._lock:
                self._open[name].remove(context)

    def end(self, name: str) -> None:
        """Cancel every call of `name`; its next one is refused at the door."""
        with self._lock:
            for context in self._open.get(name, ()):
                context.cancel()

    def follow(self, members: MemberList) -> None:
        """End the calls of whoever is removed, for ever; for a thread of its own."""
        while True:
            time.sleep(_INTERVAL_S)
            for name in members.take_removed():
                self.end(name)
