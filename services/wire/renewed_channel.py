"""A channel that takes up the new certificate when its files change."""

import threading
from collections.abc import Callable
from typing import Any, Self

import grpc
from typing_extensions import override

from services.config.renewed import Renewed
from services.wire.channels import dial


class _Method:
    """One method of a `RenewedChannel`: looks for the channel at each call."""

    def __init__(self, current: Callable[[], Any]) -> None:
        self._current = current

    def __call__(self, *a: Any, **k: Any) -> Any:
        return self._current()(*a, **k)

    def future(self, *a: Any, **k: Any) -> Any:
        """Call without waiting."""
        return self._current().future(*a, **k)


def _renewed(kind: str) -> Any:
    def method(self: "RenewedChannel", *a: Any, **k: Any) -> _Method:
        return _Method(lambda: getattr(self._current(), kind)(*a, **k))

    return method


class RenewedChannel(grpc.Channel):
    """A channel whose calls use the newest certificate; calls under way end on the older one."""

    unary_unary = _renewed("unary_unary")
    unary_stream = _renewed("unary_stream")
    stream_unary = _renewed("stream_unary")
    stream_stream = _renewed("stream_stream")

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
