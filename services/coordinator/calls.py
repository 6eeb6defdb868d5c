"""Counts transfers by caller: how many there may be, and whom they are taken away from.

A stream beyond the limits is refused at once, with a time to come back: nobody queues behind the
streams of others. A caller that is taken off the member list is cut off, and so is a stream that
has not moved a byte for too long, since it holds a place that others wait for.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from common.errors import BusyError
from services.trust.identity import MemberList

_INTERVAL_S: Final = 0.5
_RETRY_AFTER_S: Final = 1.0
_RETRY_AFTER_DRAIN_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How many streams may be open.

    Args:
        streams: in all; a quarter is for uploads alone, which have a deadline.
        per_member: of one name.
        stall_s: without a byte, until a stream is ended.
    """

    streams: int = 32
    per_member: int = 4
    stall_s: float = 60.0

    @property
    def downloads(self) -> int:
        """How many of them may be downloads."""
        return self.streams - self.streams // 4


class OpenCall:
    """One open stream."""

    def __init__(self, context: Any, *, upload: bool, now_s: Callable[[], float]) -> None:
        self.context = context
        self.upload = upload
        self._now_s = now_s
        self.moved_s = now_s()

    def moved(self) -> None:
        """Bytes came or went."""
        self.moved_s = self._now_s()


class Calls:
    """The open streams of one server; many threads share it.

    Args:
        now_s: monotonic clock.
    """

    def __init__(
        self, limits: StreamLimits, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._now_s = now_s
        self._changed = threading.Condition()
        self._open: dict[str, list[OpenCall]] = {}
        self._draining = False

    @contextmanager
    def by(self, name: str, context: Any, *, upload: bool) -> Iterator[OpenCall]:
        """Hold a stream of `name` for as long as the block lasts.

        Raises:
            BusyError: there are enough.
        """
        call = OpenCall(context, upload=upload, now_s=self._now_s)
        with self._changed:
            self._check(name, upload=upload)
            self._open.setdefault(name, []).append(call)
        try:
            yield call
        finally:
            with self._changed:
                self._open[name].remove(call)
                if not self._open[name]:
                    del self._open[name]
                self._changed.notify_all()

    def check_upload(self, name: str) -> None:
        """Say whether an upload of `name` would be let in now, before it sends a byte in vain.

        Raises:
            BusyError: it would not.
        """
        with self._changed:
            self._check(name, upload=True)

    def _check(self, name: str, *, upload: bool) -> None:
        if self._draining and not upload:
            raise BusyError(
                "this coordinator is ending: ask the next one again", _RETRY_AFTER_DRAIN_S
            )
        mine = self._open.get(name, ())
        if len(mine) >= self._limits.per_member:
            raise BusyError(
                f"{name} has {len(mine)} uploads and downloads open, and "
                f"{self._limits.per_member} are allowed: end one first",
                _RETRY_AFTER_S,
            )
        streams = [call for calls in self._open.values() for call in calls]
        num_downloads = sum(not call.upload for call in streams)
        full = len(streams) >= self._limits.streams
        if full or (not upload and num_downloads >= self._limits.downloads):
            raise BusyError(
                f"{len(streams) - num_downloads} uploads and {num_downloads} downloads are open, "
                f"and {self._limits.streams} streams are allowed, of them "
                f"{self._limits.downloads} downloads: try again in a moment",
                _RETRY_AFTER_S,
            )

    def end(self, name: str) -> None:
        """Cancel every stream of `name`; its next one is refused."""
        with self._changed:
            for call in self._open.get(name, ()):
                call.context.cancel()

    def end_stalled(self) -> None:
        """Cancel what has not moved for too long."""
        before_s = self._now_s() - self._limits.stall_s
        with self._changed:
            for calls in self._open.values():
                for call in calls:
                    if call.moved_s < before_s:
                        call.context.cancel()

    def drain(self) -> None:
        """Let no download in from now on; return once no stream is open."""
        with self._changed:
            self._draining = True
            self._changed.wait_for(lambda: not self._open)

    def follow(self, members: MemberList) -> None:
        """End the streams of whoever is removed, and stalled ones, for ever; for a thread."""
        while True:
            time.sleep(_INTERVAL_S)
            for name in members.take_removed():
                self.end(name)
            self.end_stalled()
