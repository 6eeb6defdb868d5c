"""How much memory this process holds and may still take, as Linux tells it."""

import os
import resource
import sys
from pathlib import Path
from typing import Final

_KIB: Final = 1024
_GROUPS: Final = Path("/sys/fs/cgroup")


def resident_bytes() -> int:
    """Return this process's resident memory, 0 where the system does not tell."""
    try:
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:  # not Linux
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """Return the most that this process's resident memory ever was.

    What getrusage says is kept from the program that was there before: of whoever started this one.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(n.split()[1]) * _KIB for n in lines if n.startswith("VmHWM:"))
    except (OSError, StopIteration):  # not Linux
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KIB


def available_bytes(meminfo: Path = Path("/proc/meminfo"), groups: Path = _GROUPS) -> int | None:
    """Return how much memory is left for this process; None where the system does not tell.

    The least of what the machine has left and what a container's limit leaves.

    Args:
        meminfo: as Linux writes it.
        groups: where this process's control group shows its limit.
    """
    found = [left for left in (_of_machine(meminfo), _of_group(groups)) if left is not None]
    return min(found, default=None)


def _of_machine(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(n.split()[1]) * _KIB for n in lines if n.startswith("MemAvailable:")), None)


def _of_group(groups: Path) -> int | None:
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most = (groups / limit).read_text(encoding="ascii").strip()
            held = int((groups / used).read_text(encoding="ascii"))
            if most.isdecimal():
                return max(0, int(most) - held)
        except (OSError, ValueError):
            continue
    return None
