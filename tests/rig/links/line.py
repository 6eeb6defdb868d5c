"""A TCP proxy on loopback before one port: slow, cut, stalled, lost or led elsewhere."""

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Final, Self

_PART_BYTES: Final = 16384
_IN_FLIGHT_BYTES: Final = 65536  # what a dialler's system may have sent before we have read it


class Line:
    """A context manager.

    Args:
        target: HOST:PORT to forward to; may be set anew, for connections to come.
        rate_bps: bits per second towards the target, all connections together; 0 = no limit.
        limit_bytes: what goes towards the target, over all connections, before it stalls by itself.
    """

    def __init__(self, target: str, *, rate_bps: int = 0, limit_bytes: int | None = None) -> None:
        self.target = target
        self.taken_bytes = 0
        """Read from diallers so far: what crossed the slow part of the line."""
        self.given_bytes = 0
        """Read from the target so far."""
        self.num_connections = 0
        self.stalled = threading.Event()
        """Set when `limit_bytes` is reached."""
        self._rate_bps = rate_bps
        self._left = limit_bytes
        self._listener = socket.socket()
        if rate_bps:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _IN_FLIGHT_BYTES)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self._lock = threading.Lock()
        self._pace = threading.Lock()
        self._open: set[socket.socket] = set()
        self._near: set[socket.socket] = set()
        self._forgotten: set[socket.socket] = set()
        self._lost: set[socket.socket] = set()
        self._is_cut = False
        self._flows = threading.Event()
        self._flows.set()

    @property
    def address(self) -> str:
        """HOST:PORT to dial instead of the target."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """End every connection, and every new one at once."""
        with self._lock:
            self._is_cut = True
            for end in self._open:
                _shut(end)

    def forget(self) -> None:
        """End every connection on the dialler's side only, as a router that loses its table."""
        with self._lock:
            self._forgotten |= self._near
            for near in self._near:
                _shut(near)

    def lose(self) -> None:
        """Let what is sent on the open connections vanish; nobody is told, new ones are sound."""
        with self._lock:
            self._lost |= self._open

    def stall(self) -> None:
        """Carry nothing; connections stay."""
        self._flows.clear()

    def heal(self) -> None:
        """Carry everything again, without limit."""
        self._is_cut = False
        self._left = None
        self._flows.set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None
    ) -> None:
        self.heal()
        _shut(self._listener)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        """Carry one connection both ways, and close it when either end does."""
        host, _, port = self.target.rpartition(":")
        with near:
            try:
                far = socket.create_connection((host, int(port)))
            except OSError:
                return
            with far:
                with self._lock:
                    self._open |= {near, far}
                    self._near.add(near)
                    self.num_connections += 1
                    if self._is_cut:
                        _shut(near)
                back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
                back.start()
                self._pump(near, far, up=True)
                back.join()
                with self._lock:
                    self._open -= {near, far}
                    self._near.discard(near)

    def _pump(self, source: socket.socket, sink: socket.socket, *, up: bool = False) -> None:
        try:
            while content := source.recv(_PART_BYTES):
                if up:
                    self._take(len(content))
                else:
                    with self._lock:
                        self.given_bytes += len(content)
                self._flows.wait()
                if source not in self._lost:
                    sink.sendall(content)
        except OSError:
            pass
        _shut(source)
        if source not in self._forgotten:
            _shut(sink)

    def _take(self, num_bytes: int) -> None:
        """Count what came for the target, at no more than the line's rate."""
        with self._pace:
            self.taken_bytes += num_bytes
            if self._rate_bps:
                time.sleep(8 * num_bytes / self._rate_bps)
            if self._left is not None:
                self._left -= num_bytes
                if self._left < 0:
                    self._left = None
                    self.stall()
                    self.stalled.set()


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
