"""Which HTTP proxy gRPC dials through: its own rule, written once, and what it means for us.

gRPC reads the environment at every channel: `grpc_proxy`, `https_proxy`, `http_proxy`, the first
that is set, even to nothing, which means none. It has to be http://[USER:PASSWORD@]HOST[:PORT];
gRPC logs any other form and dials directly. `no_grpc_proxy`, or else `no_proxy`, lists what is
dialled directly: ends of host names in any case, and ADDRESS/BITS for hosts that are addresses.
tests/integration/test_proxies.py holds this file against gRPC itself.

One thing is our own: loopback is never dialled through a proxy, for whom it would be another host.
`services/wire/channels.py` tells gRPC so, and `crosscloud doctor` walks the same way.

No part of a faulty URL is ever repeated: what gRPC takes for its host may be half of a password.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from services.config.addresses import checked_host, joined

_SETTINGS: Final = ("grpc_proxy", "https_proxy", "http_proxy")
_FORM: Final = re.compile(r"(?i:http)://(?:([^/?#]*)@)?([^@/?#]+)((?:[/?#].*)?)")
_BITS: Final = re.compile(r"\s*\+?(\d+)\s*")
_DEFAULT_PORT: Final = 443
_MOST_PORT: Final = 65535
_FIX: Final = (
    "write http://HOST:PORT, and in a user's name or password percent-encode / as %2F, # as %23, "
    "? as %3F and @ as %40"
)
_UPPER: Final = ("HTTPS_PROXY", "HTTP_PROXY")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that gRPC dials through.

    Args:
        setting: variable of the environment that names it.
        user: USER:PASSWORD, or "".
        fault: why nobody can be dialled by it, with the fix; then the rest is empty. "" = none.
    """

    setting: str
    host: str
    port: int
    user: str = field(default="", repr=False)
    fault: str = ""

    @property
    def shown(self) -> str:
        """How it is named to people."""
        return f"the proxy {joined(self.host, self.port)} ({self.setting})"


def proxy_for(target: str, environ: Mapping[str, str] | None = None) -> Proxy | None:
    """Return the proxy through which HOST:PORT is dialled; None = directly."""
    return None if is_loopback(split(target)[0]) else grpcs_proxy_for(target, environ)


def grpcs_proxy_for(target: str, environ: Mapping[str, str] | None = None) -> Proxy | None:
    """Return what `proxy_for` does, by gRPC's own rule alone: loopback is nothing special."""
    environ = os.environ if environ is None else environ
    setting = _setting(environ)
    form = _FORM.fullmatch(environ[setting]) if setting else None
    if form is None or _is_excepted(split(target)[0], environ):
        return None
    proxy_host, port = split(form[2])
    if "@" in form[3] or not _is_host(proxy_host) or port > _MOST_PORT:
        return Proxy(setting, "", 0, fault=f"{setting}: not a proxy's URL: {_FIX}")
    return Proxy(setting, proxy_host, port or _DEFAULT_PORT, unquote(form[1] or ""))


def unused(environ: Mapping[str, str] | None = None) -> str:
    """Return what a setting says that gRPC does not heed, with the fix; "" where there is none."""
    environ = os.environ if environ is None else environ
    setting = _setting(environ)
    if is_unread(environ):
        return f"{setting} is not http://HOST:PORT, so gRPC does not use it: correct it"
    upper = next((name for name in _UPPER if environ.get(name)), "")
    if upper and not setting:
        return f"gRPC does not read {upper}: set {upper.lower()} as well if a proxy has to be used"
    return ""


def hint(target: str) -> str:
    """Return what to say of a proxy that is set in vain, after a sentence on HOST:PORT; or ""."""
    said = "" if is_loopback(split(target)[0]) else unused()
    return f"; {said}" if said else ""


def is_unread(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether a setting is not of gRPC's form: what it logs of it may be a password."""
    environ = os.environ if environ is None else environ
    setting = _setting(environ)
    return bool(setting and environ[setting]) and not _FORM.fullmatch(environ[setting])


def is_loopback(host: str) -> bool:
    """Return whether `host` is this machine, seen from itself."""
    address = _address(host)
    if address is None:
        name = host.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified


def split(target: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT, HOST or [ADDRESS]:PORT; port 0 where there is none."""
    host, colon, port = target.rpartition(":")
    if not colon or not port.isdecimal() or (":" in host and not host.endswith("]")):
        host, port = target, "0"
    return host.strip("[]"), int(port)


def _is_host(text: str) -> bool:
    try:
        return bool(checked_host(text))
    except ValueError:
        return False


def _setting(environ: Mapping[str, str]) -> str:
    return next((name for name in _SETTINGS if name in environ), "")


def _is_excepted(host: str, environ: Mapping[str, str]) -> bool:
    listed = environ.get("no_grpc_proxy", environ.get("no_proxy", ""))
    entries = (entry.strip() for entry in listed.split(","))
    return any(
        host.lower().endswith(entry.lower()) or _is_within(host, entry)
        for entry in entries
        if entry
    )


def _is_within(host: str, entry: str) -> bool:
    base, _, bits = entry.partition("/")
    address, start, width = _address(host), _address(base), _BITS.fullmatch(bits)
    if address is None or start is None or width is None:
        return False
    num_bits = min(int(width[1]), start.max_prefixlen)
    return address in ipaddress.ip_network(f"{start}/{num_bits}", strict=False)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
