"""What every process tells of its own health, under the same names, as those of `process_`."""

from collections.abc import Callable, Iterable
from typing import Final

from services.observe.prometheus import Family, Registry, Reported

_HEALTH_FAMILIES: Final = (
    Family(
        "certificate_not_after_timestamp_seconds",
        "When this process's certificate, or its CA's, ends.",
        ("file",),
    ),
    Family("disk_free_bytes", "Room left for this process where it keeps what lasts."),
    Family("disk_size_bytes", "Size of that file system."),
)


def add_health(
    registry: Registry, read: Callable[[], Iterable[tuple[str, float, tuple[str, ...]]]]
) -> None:
    """Export what `services/observe/process_health.py` reads at each scrape."""
    Reported(registry, _HEALTH_FAMILIES, read)
