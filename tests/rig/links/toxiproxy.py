"""Shopify's toxiproxy as a subprocess: a line whose faults another program makes.

https://github.com/Shopify/toxiproxy
"""

import contextlib
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

from commands.demo.layout import free_ports
from tests.rig.programs import needed

_NO_PROXY: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ToxicLine:
    """One proxy of a server. Made by `Toxiproxy.line`."""

    def __init__(self, api: str, name: str, address: str) -> None:
        self._url = f"{api}/proxies/{name}"
        self.address = address
        """HOST:PORT to dial instead of the target."""

    def cut(self) -> None:
        """End every connection, and refuse new ones."""
        _post(self._url, {"enabled": False})

    def reset(self) -> None:
        """Answer every connection, also new ones, with a TCP reset."""
        self._add("reset_peer", {"timeout": 0})

    def stall(self) -> None:
        """Carry nothing; connections stay."""
        self._add("timeout", {"timeout": 0})

    def heal(self) -> None:
        """Carry everything again; what `stall` held back is lost, and its connections end."""
        for toxic in _call("GET", f"{self._url}/toxics"):
            _call("DELETE", f"{self._url}/toxics/{toxic['name']}")
        _post(self._url, {"enabled": True})

    def _add(self, kind: str, attributes: dict[str, int]) -> None:
        for stream in ("upstream", "downstream"):
            toxic = {"type": kind, "name": stream, "stream": stream, "attributes": attributes}
            _post(f"{self._url}/toxics", toxic)


class Toxiproxy:
    """A running server. Made by `toxiproxy`."""

    def __init__(self, api: str) -> None:
        self._api = api
        self._num_lines = 0

    def line(self, target: str, host: str = "127.0.0.1") -> ToxicLine:
        """Return a line to HOST:PORT, with a port of its own on `host`."""
        name = f"line{self._num_lines}"
        self._num_lines += 1
        made = _post(
            f"{self._api}/proxies", {"name": name, "listen": f"{host}:0", "upstream": target}
        )
        return ToxicLine(self._api, name, made["listen"])


@contextlib.contextmanager
def toxiproxy() -> Iterator[Toxiproxy]:
    """Run a server as long as the block lasts."""
    (port,) = free_ports(1)
    command = (needed("toxiproxy-server"), "-host", "127.0.0.1", "-port", str(port))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    api = f"http://127.0.0.1:{port}"
    try:
        for _ in range(500):
            with contextlib.suppress(OSError):
                _call("GET", f"{api}/version", parse=False)
                break
            time.sleep(0.01)
        yield Toxiproxy(api)
    finally:
        process.terminate()
        process.wait()


def _post(url: str, content: object) -> Any:
    return _call("POST", url, json.dumps(content).encode())


def _call(method: str, url: str, content: bytes | None = None, *, parse: bool = True) -> Any:
    request = urllib.request.Request(url, content, method=method)
    with _NO_PROXY.open(request, timeout=10) as answer:
        read = answer.read()
    return json.loads(read) if parse and read else None
