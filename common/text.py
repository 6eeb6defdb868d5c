"""Makes strings of others fit to be shown: in logs, on terminals, in labels, on the report's page.

Whoever writes a sentence must not also write the next line of a log, move a terminal's cursor or
turn the direction of what stands behind it.
"""

import re
from typing import Final

UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff"
    "\ud800-\udfff]"
)
"""Control characters, other ends of lines, marks that turn the direction of text, halves."""


def nested(dotted: str, value: str = "...") -> str:
    """Return how `a.b: value` is written in YAML, `a: {b: value}`."""
    *groups, name = dotted.split(".")
    written = f"{name}: {value}"
    for group in reversed(groups):
        written = f"{group}: {{{written}}}"
    return written


def printable(text: str) -> str:
    r"""Return `text` on one line, with an escape such as `\x1b` or `\n` for what is no sign."""
    return UNPRINTABLE.sub(lambda m: m[0].encode("unicode_escape").decode("ascii"), text)
