"""A TCP proxy on loopback between one worker and one port, whose line can be cut or stalled."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class Line:
    """A context manager.

    Args:
        target: HOST:PORT to forward to.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
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

    def stall(self) -> None:
        """Carry nothing; connections stay."""
        self._flows.clear()

    def heal(self) -> None:
        """Carry everything again."""
        self._is_cut = False
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
        with near:
            try:
                far = socket.create_connection(self._target)
            except OSError:
                return
            with far:
                with self._lock:
                    self._open |= {near, far}
                    if self._is_cut:
                        _shut(near)
                back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
                back.start()
                self._pump(near, far)
                back.join()
                with self._lock:
                    self._open -= {near, far}

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while content := source.recv(65536):
                self._flows.wait()
                sink.sendall(content)
        except OSError:
            pass
        _shut(source)
        _shut(sink)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
