"""A TCP proxy on loopback that forwards so many bytes upstream and then holds the rest back."""

import socket
import threading
from types import TracebackType
from typing import Self


class StallingProxy:
    """Stands between a worker and a port. A context manager.

    Args:
        target: HOST:PORT to forward to.
        limit_bytes: what goes towards the target, over all connections, before it stalls.
    """

    def __init__(self, target: str, limit_bytes: int) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._left = limit_bytes
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.stalled = threading.Event()
        """Set when the limit is reached."""
        self.released = threading.Event()
        """Set it to forward everything from then on."""

    @property
    def address(self) -> str:
        """HOST:PORT to dial instead of the target."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None
    ) -> None:
        self.released.set()
        self._listener.close()
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            self._open += [near, far]
            for source, sink, limited in ((near, far, True), (far, near, False)):
                threading.Thread(
                    target=self._pump, args=(source, sink, limited), daemon=True
                ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, limited: bool) -> None:
        try:
            while content := source.recv(16384):
                if limited:
                    self._wait_for_leave(len(content))
                sink.sendall(content)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _wait_for_leave(self, num_bytes: int) -> None:
        with self._lock:
            self._left -= num_bytes
            over = self._left < 0
        if over and not self.released.is_set():
            self.stalled.set()
            self.released.wait()
