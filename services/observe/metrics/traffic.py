"""Series of bytes by direction and kind. Kinds that we do not know become "other"."""

from collections.abc import Mapping

from services.observe.prometheus import Family, Reported
from services.wire.traffic import KINDS, OTHER, Direction

NETWORK = "network_bytes_total"
FLOAT32 = "float32_bytes_total"


def traffic_families(owner: str, *labels: str) -> tuple[Family, ...]:
    """Return the families of bytes on the wire and of what they stand for."""
    by = (*labels, "direction", "kind")
    return (
        Family(f"{owner}_{NETWORK}", "Bytes on the wire, TCP's payload.", by),
        Family(f"{owner}_{FLOAT32}", "What their content would be as float32.", by),
    )


def set_traffic(
    series: Reported, name: str, direction: Direction, by_kind: Mapping[str, int], *labels: str
) -> None:
    """Set the series of one direction.

    Args:
        name: of the family.
        labels: those before direction and kind.
    """
    for kind, num_bytes in known(by_kind).items():
        series.set(name, num_bytes, *labels, direction, kind)


def known(by_kind: Mapping[str, int]) -> dict[str, int]:
    """Return `by_kind` with everything that is not one of KINDS under OTHER."""
    kinds = {k: n for k, n in by_kind.items() if k in KINDS}
    if other := sum(n for k, n in by_kind.items() if k not in KINDS):
        kinds[OTHER] = other
    return kinds
