"""Moving onto a new version with one's own local work kept."""

from common.arrays import F32


def merge(theta: F32, head: F32, anchor: F32) -> None:
    """Theta += head - anchor, in place, on any slice of the flat vector.

    Args:
        theta: live parameters, float32[n].
        head: the same slice of the new version.
        anchor: of theta at close where this worker is a survivor, else of the old base.
    """
    theta += head - anchor


def spend(theta: F32, base: F32, at_close: F32) -> None:
    """Theta -= theta_at_close - base, in place: forget work whose fate is unknown."""
    theta -= at_close - base
