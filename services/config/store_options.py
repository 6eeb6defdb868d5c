"""Lists what may stand after the ? of a store's URL, by scheme, and what the options mean.

A client library drops some options without a word and fails on others at its first connection, with
words of its own. So here is what both of our connections take, a blocking one and one for asyncio;
time-outs and encodings are ours. No value is ever repeated, which may be a password, but a path at
which nothing is.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from common.text import printable

_ONE: Final = ("redis", "rediss", "unix")
STORES: Final = (*_ONE, "redis+cluster", "rediss+cluster")
"""Schemes of a store's URL."""
_TLS: Final = ("rediss", "rediss+cluster")
_ONE_TLS: Final = ("rediss",)

_TEXT: Final = (r".+", "a text")
_NUMBER: Final = (r"[0-9]{1,9}", "a whole number")
_PROTOCOL: Final = (r"[23]", "2 or 3")
_PATH: Final = (r"[^\0]+", "a path")
_REQUIRED: Final = (r"none|optional|required", "required, optional or none")
_YES: Final = r"(?i:true|yes|1)"
_NO: Final = r"(?i:false|no|0)"
_BOOL: Final = (f"{_YES}|{_NO}", "true or false")
_TLS_VERSION: Final = (r"77[12]", "771 (TLS 1.2) or 772 (TLS 1.3)")

_OPTIONS: Final = {
    "client_name": (STORES, _TEXT),
    "db": (_ONE, _NUMBER),
    "health_check_interval": (_ONE, _NUMBER),
    "password": (STORES, _TEXT),
    "protocol": (STORES, _PROTOCOL),
    "username": (STORES, _TEXT),
    "ssl_ca_certs": (_TLS, _PATH),
    "ssl_ca_data": (_TLS, _TEXT),
    "ssl_ca_path": (_ONE_TLS, _PATH),
    "ssl_cert_reqs": (_TLS, _REQUIRED),
    "ssl_certfile": (_TLS, _PATH),
    "ssl_check_hostname": (_TLS, _BOOL),
    "ssl_ciphers": (_ONE_TLS, _TEXT),
    "ssl_keyfile": (_TLS, _PATH),
    "ssl_min_version": (_ONE_TLS, _TLS_VERSION),
    "ssl_password": (_ONE_TLS, _TEXT),
}
"""Name -> schemes, (form of a value, the form in words)."""


def problem_of_options(scheme: str, query: str) -> str:
    """Return what is wrong with what stands after the ?, and how to mend it; "" if nothing is."""
    seen = set[str]()
    for name, value in parse_qsl(query, keep_blank_values=True):
        schemes, (form, words) = _OPTIONS.get(name, ((), _TEXT))
        if scheme not in schemes:
            known = ", ".join(each for each, (where, _) in _OPTIONS.items() if scheme in where)
            return (
                f"has an option {printable(name)[:30]!r} after the ?, which is none here or ours:"
                f" leave it out; with {scheme}:// there may be {known}"
            )
        if name in seen:
            return f"has the option {name!r} twice: leave one out"
        if not re.fullmatch(form, value, re.DOTALL):
            return f"has a wrong value of the option {name!r}: write {words}"
        seen.add(name)
    return ""


def with_paths(url: str, placed: Callable[[Path], Path]) -> str:
    """Return a sound URL with each path among its options as `placed` returns it."""
    parts = urlsplit(url)
    options = parse_qsl(parts.query)
    found = [(n, str(placed(Path(v))) if _is_path(n) else v) for n, v in options]
    if found == options:
        return url
    return f"{url.partition('?')[0]}?{urlencode(found, quote_via=quote, safe='/')}"


def missing_path(url: str) -> str:
    """Return what is wrong with the first path among the options at which nothing is."""
    for name, value in parse_qsl(urlsplit(url).query):
        if _is_path(name) and not Path(value).exists():
            return f"{name}: no such file: {value}; correct the path or make the file"
    return ""


def loud_options(url: str) -> Iterator[str]:
    """Yield a sentence for each option that may be set and protects less than its default."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    if parts.scheme not in _TLS:
        return
    if options.get("ssl_cert_reqs") == "none":
        yield (
            "redis_url: ssl_cert_reqs=none: whoever answers there is taken for the store, and told "
            "the password; leave it out, and name the store's authority in ssl_ca_certs"
        )
    elif re.fullmatch(_NO, options.get("ssl_check_hostname", "")):
        yield (
            "redis_url: ssl_check_hostname=false: whoever holds any certificate of that authority "
            "is taken for the store, and told the password; leave it out, and dial a name that the "
            "store's certificate carries"
        )


def _is_path(name: str) -> bool:
    return _OPTIONS[name][1] is _PATH
