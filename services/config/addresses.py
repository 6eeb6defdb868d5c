"""Hosts and ports as people write them, in files, in the environment and on the command line.

    coordinator.example.org:7443   10.0.0.7:7443   [::1]:7443    HOST:PORT, where to dial
    0.0.0.0   ::   [::]   localhost                              HOST, where to listen

An IPv6 address has brackets in HOST:PORT, and may have them alone. It refuses URLs, gRPC's own
forms, and what could be read in two ways: `::1:7443` is an address, or an address and a port.
"""

import ipaddress
import re
from typing import Final, NamedTuple

from typing_extensions import override

_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MOST_PORT: Final = 65535
_EXAMPLE: Final = "such as coordinator.example.org:7443 or [2001:db8::7]:7443"
_HERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class Address(NamedTuple):
    """A host without brackets, and a TCP port."""

    host: str
    port: int

    @override
    def __str__(self) -> str:
        """Return HOST:PORT as it is dialled."""
        return joined(*self)


def joined(host: str, port: int) -> str:
    """Return HOST:PORT, with brackets where an IPv6 address needs them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parsed(text: str) -> Address:
    """Return what HOST:PORT says.

    Raises:
        ValueError: it is something else; says what to write.
    """
    if "://" in text or text.startswith(("dns:", "ipv4:", "ipv6:", "unix:")):
        rest = text.rpartition("//")[2] if "//" in text else text.partition(":")[2]
        shown = "" if "@" in rest else f", {rest.split('/')[0]}"
        raise ValueError(f"expected HOST:PORT alone{shown}: leave out what stands around it")
    if "@" in text:
        raise ValueError("expected HOST:PORT alone: nobody logs in there; delete what is before @")
    host, colon, port = text.rpartition(":")
    if not colon or not host or port.endswith("]"):
        raise ValueError(f"expected HOST:PORT, {_EXAMPLE}")
    if not (port.isascii() and port.isdecimal() and 1 <= int(port[:6]) <= _MOST_PORT):
        raise ValueError(f"expected HOST:PORT, {_EXAMPLE}: a port is a number from 1 to 65535")
    if ":" in host and not host.startswith("["):
        raise ValueError(
            f"an IPv6 address has brackets before its port: write [{host}]:{port}, or "
            f"[{text}]:PORT if {port!r} is a part of it"
        )
    return Address(checked_host(host), int(port))


def checked_host(text: str) -> str:
    """Return a host without the brackets that an IPv6 address may have.

    Raises:
        ValueError: no name or address of a machine; says what to write.
    """
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        if str(ipaddress.ip_address(host)) and (host == text or ":" in host):
            return host
    except ValueError:
        pass
    if not host or "/" in host or "@" in host:
        raise ValueError("expected a host's name or address alone, such as 10.0.0.7 or ::1")
    if ":" in host or "[" in text:
        raise ValueError(
            "expected a host's name or address without a port, such as 10.0.0.7, ::1 or [::1]"
        )
    if not host.isascii():
        raise ValueError(f"a host's name has ASCII letters: write {_ascii(host)}")
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdecimal() or not all(map(_LABEL.fullmatch, labels)) or len(host) > 253:
        raise ValueError("no host's name, nor an address such as 10.0.0.7 or ::1: correct it")
    return host


def here(host: str) -> str:
    """Return where a process that listens on `host` is reached from the same machine."""
    return _HERE.get(host, host)


def _ascii(host: str) -> str:
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return "its form in ASCII, which begins with xn--"
