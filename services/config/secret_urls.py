"""Shows URLs that hold a password without it, and says what is wrong with one.

No part of a faulty URL is ever repeated: where the password ends cannot be known, and what its
reader would call the host may be half of it.
"""

import re
from typing import Final
from urllib.parse import unquote, urlsplit

from services.config.store_options import STORES, problem_of_options

_ACCESS: Final = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*:/+)(?P<access>[^\s'\"]*)@")
_BARE: Final = re.compile(r"(?<![^\s'\"(])[^\s'\"/@:(]+:[^\s'\"/@:][^\s'\"@]*@")
"""USER:PASSWORD@ without a scheme before it."""
_OPTION: Final = re.compile(
    r"(?i)([?&;](?:(?:ssl_)?password|passwd|pwd|token|secret|username)=)[^&\s'\"]*"
)
_FORMS: Final = (
    "write redis://HOST:6379/0, rediss://..., redis+cluster://..., rediss+cluster://... or "
    "unix:///PATH"
)


def masked(text: str) -> str:
    """Return a sentence with what stands before the @ of every URL in it as ***."""
    text = _BARE.sub(r"***@", _ACCESS.sub(_without_access, text))
    return _OPTION.sub(r"\1***", text)


def problem_of(url: str) -> str:
    """Return what is wrong with a store's URL and how to mend it; "" if nothing is."""
    scheme, sign, rest = url.partition("://")
    if not sign or scheme not in STORES:
        return f"is not a store's URL; {_FORMS}"
    if any(c.isspace() or not c.isprintable() for c in url):
        return "has a blank or a line's end in it: delete it, or percent-encode it (%20)"
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        parts, port, host = None, None, None
    place = rest.split("/")[0].split("?")[0].split("#")[0]
    if parts is None or "@" in rest.removeprefix(place) or "#" in rest:
        return (
            "cannot be taken apart: in a password percent-encode / as %2F, # as %23, ? as %3F, "
            "@ as %40, : as %3A, [ as %5B, ] as %5D and % as %25; a port is a number to 65535"
        )
    if problem := problem_of_options(scheme, parts.query):
        return problem
    if scheme == "unix":
        return "" if unquote(parts.path) else f"names no socket; {_FORMS}"
    if not host:
        return f"names no host; {_FORMS}"
    if port == 0 or place.endswith(":"):
        return f"has no port after the colon; {_FORMS}"
    path = parts.path.strip("/")
    if path and not path.isdecimal():
        return f"has something else than a database's number after the host; {_FORMS}"
    if scheme.endswith("+cluster") and path.strip("0"):
        return "names a database, and a cluster has none but 0: leave the number out"
    return ""


def shown(url: str) -> str:
    """Return a store's URL as it may be shown: without password and options."""
    scheme = url.partition("://")[0]
    if problem_of(url):
        return f"{scheme}://***" if scheme in STORES else "***"
    parts = urlsplit(url)
    access, at, host = parts.netloc.rpartition("@")
    user, colon, _ = access.partition(":")
    user = f"{user}:***" if colon else "***" * bool(at)  # without a colon it may be a password
    return f"{parts.scheme}://{user}{at}{host}{parts.path}"


def _without_access(found: re.Match[str]) -> str:
    is_masked = found["access"] == "***" or found["access"].endswith(":***")
    return found[0] if is_masked else f"{found['scheme']}***@"
