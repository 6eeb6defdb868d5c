"""An HTTP proxy that knows CONNECT and nothing else, and remembers where it was asked to go."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Mapping
from typing import Any


class ConnectProxy:
    """A context manager; `asked` lists the targets in the order of asking.

    Args:
        names: host -> the address that this proxy knows for it.
        refusal: status line with which it answers everybody, say "403 Forbidden"; "" = it leads.
    """

    def __init__(self, names: Mapping[str, str] | None = None, *, refusal: str = "") -> None:
        self.asked: list[str] = []
        known = names or {}
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                target = self.rfile.readline().split()[1].decode()
                while self.rfile.readline().strip():
                    pass
                proxy.asked.append(target)
                if refusal:
                    self.wfile.write(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n".encode())
                    return
                host, _, port = target.rpartition(":")
                with socket.create_connection((known.get(host, host), int(port)), 10) as there:
                    self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    back = threading.Thread(target=_pump, args=(there, self.connection))
                    back.start()
                    _pump(self.connection, there)
                    back.join()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)

    def __enter__(self) -> "ConnectProxy":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while content := source.recv(2**16):
            sink.sendall(content)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
