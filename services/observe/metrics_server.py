"""The plain HTTP port of a process's metrics: bounded, since anybody may knock at it.

A scrape takes milliseconds. So a connection that is older than `REQUEST_S`, or the oldest of those
that are open when one more comes than `MOST_OPEN`, is cut: whoever holds connections open keeps
nobody from a scrape for long, and costs the process neither threads nor descriptors beyond that.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from typing_extensions import override

MOST_OPEN: Final = 16
"""Connections at once; twice that while those that were cut are ending."""

REQUEST_S: Final = 10.0
"""Seconds that one connection may take in all."""


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_S  # of one read; the server's own clock is for those that drip

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the log is for what the process does."""


class BoundedServer(ThreadingMixIn, WSGIServer):
    """See the module docstring. `serve_forever` runs on a thread of its own.

    Args:
        app: answers a request, WSGI.
        now_s: monotonic clock.
    """

    daemon_threads = True
    request_queue_size = 128  # of 5, the default, a scrape beside strangers would wait for seconds

    def __init__(
        self, host: str, port: int, app: Any, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}
        self._cut: set[socket.socket] = set()
        self.address_family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        super().__init__((str(address[0]), int(address[1])), _Handler)
        self.set_app(app)

    @property
    def num_open(self) -> int:
        """Connections that hold a descriptor."""
        with self._lock:
            return len(self._open)

    @override
    def server_bind(self) -> None:
        """Bind, without asking the resolver for the machine's name, as the base class does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    @override
    def verify_request(self, request: Any, caller: Any) -> bool:
        """Let a connection in; the oldest goes where there are enough."""
        with self._lock:
            if len(self._open) >= 2 * MOST_OPEN:
                return False
            waiting = [s for s in self._open if s not in self._cut]
            if len(waiting) >= MOST_OPEN:
                self._end(waiting[0])
            self._open[request] = self._now_s()
        return True

    @override
    def service_actions(self) -> None:
        """Cut what is open for too long; called twice a second."""
        with self._lock:
            before_s = self._now_s() - REQUEST_S
            for connection, since_s in self._open.items():
                if since_s < before_s and connection not in self._cut:
                    self._end(connection)

    @override
    def shutdown_request(self, request: Any) -> None:
        """Close a connection, and forget it."""
        super().shutdown_request(request)
        with self._lock:
            self._open.pop(request, None)
            self._cut.discard(request)

    @override
    def handle_error(self, request: Any, caller: Any) -> None:
        """Say nothing of a caller that went away, or was cut."""

    def _end(self, connection: socket.socket) -> None:
        """Wake the thread that reads from it; that closes it."""
        self._cut.add(connection)
        with contextlib.suppress(OSError):  # the other side was faster
            connection.shutdown(socket.SHUT_RDWR)
