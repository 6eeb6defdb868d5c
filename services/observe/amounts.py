"""Numbers as people read them: bytes, counts, money, seconds. Decimal units throughout."""

from typing import Final

EGRESS_DOLLARS_PER_GB: Final = 0.09
"""Per 10**9 bytes: what large clouds list for the first terabytes to the internet. A default."""


def human_bytes(num_bytes: int) -> str:
    """Return a decimal size of at most eight columns, such as "12.3 MB"."""
    value, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB", "EB"):
        if value < 999.95:  # 1000.0 once rounded
            break
        value, unit = value / 1000, larger
    return f"{num_bytes} B" if unit == "B" else f"{value:.1f} {unit}"


def human_count(count: int) -> str:
    """Return a count of at most six columns, such as "384.0k"."""
    value, unit = float(count), ""
    for larger in ("k", "M", "G", "T", "P", "E"):
        if value < 999.95:
            break
        value, unit = value / 1000, larger
    return f"{count}" if not unit else f"{value:.1f}{unit}"


def human_seconds(seconds: float) -> str:
    """Return a duration in its largest fitting unit, such as "0.42 s", "12 min" or "3.1 h"."""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    if seconds < 7170:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 99.95 else f"{hours:.0f} h"


def human_dollars(dollars: float) -> str:
    """Return a sum of money with cents, or with two digits that are not zero."""
    if dollars == 0 or dollars >= 0.995:
        return f"${dollars:,.2f}"
    return f"${dollars:.2g}" if dollars >= 0.0001 else "under $0.0001"


def rough_seconds(seconds: float) -> str:
    """Return a duration that goes on, in whole seconds at first: "9 s", "12 min" or "3.1 h"."""
    return f"{seconds:.0f} s" if seconds < 119.5 else human_seconds(seconds)
