"""A TCP balancer on loopback that forgets connections on which no byte has passed for a while.

Clouds' balancers do, mostly after four minutes, and tell nobody. What is sent afterwards either
vanishes, or is answered with a reset; the side that sends nothing never hears of it.
"""

import contextlib
import selectors
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Final, Self

_PART_BYTES: Final = 65536
_LOOK_EVERY_S: Final = 0.05
_RESET: Final = struct.pack("ii", 1, 0)  # linger for no time: what is closed then is reset


class _Flow:
    """One connection, both halves of it."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.other = {near: far, far: near}
        self.moved_s = time.monotonic()
        self.is_forgotten = False


class IdleBalancer:
    """A context manager.

    Args:
        target: HOST:PORT to forward to.
        idle_s: without a byte, until a connection is forgotten.
        resets: what comes on a forgotten connection is answered with a reset; else with nothing.

    Attributes:
        num_connections: taken so far.
        num_forgotten: of them.
    """

    def __init__(self, target: str, idle_s: float, *, resets: bool = False) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._idle_s = idle_s
        self._resets = resets
        self.num_connections = 0
        self.num_forgotten = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._flows: dict[socket.socket, _Flow] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def address(self) -> str:
        """HOST:PORT to dial instead of the target."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join()
        self._selector.close()
        for end in (self._listener, *self._flows):
            end.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            for key, _ in self._selector.select(_LOOK_EVERY_S):
                end = key.fileobj
                assert isinstance(end, socket.socket)
                if end is self._listener:
                    self._accept()
                elif end in self._flows:  # the other end may just have taken it along
                    self._carry(end, self._flows[end])
            self._forget_idle()

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(self._target)
        except OSError:
            near.close()
            return
        self.num_connections += 1
        flow = _Flow(near, far)
        for end in (near, far):
            self._flows[end] = flow
            self._selector.register(end, selectors.EVENT_READ)

    def _carry(self, end: socket.socket, flow: _Flow) -> None:
        try:
            content = end.recv(_PART_BYTES)
            if flow.is_forgotten:
                self._refuse(end, content)
                return
            flow.moved_s = time.monotonic()
            flow.other[end].sendall(content)
        except OSError:
            content = b""
        if not content:
            self._drop(end)
            if not flow.is_forgotten:
                self._drop(flow.other[end])

    def _refuse(self, end: socket.socket, content: bytes) -> None:
        """What comes on a forgotten connection goes nowhere."""
        if content and self._resets:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if not content or self._resets:
            self._drop(end)

    def _forget_idle(self) -> None:
        before_s = time.monotonic() - self._idle_s
        for flow in set(self._flows.values()):
            if not flow.is_forgotten and flow.moved_s < before_s:
                flow.is_forgotten = True
                self.num_forgotten += 1

    def _drop(self, end: socket.socket) -> None:
        if self._flows.pop(end, None) is not None:
            self._selector.unregister(end)
            with contextlib.suppress(OSError):
                end.close()
