"""How many files and connections this process may have open, and how many of them strangers get.

Whoever reaches a port can open connections, certificate or not, and each takes a descriptor. So the
number of connections of a port is bounded, below what the process may open: a reserve is left for
the log, the store, its children, and people who look.
"""

import logging
import resource
from typing import Final

log = logging.getLogger(__name__)

RESERVE: Final = 128
"""Descriptors that no connection to a port of gRPC's gets. An idle control process has about 50."""

_MOST: Final = 2**20
"""What a limit of a thousand million, or none, is taken for: some systems refuse to set that."""

_FEWEST: Final = 16
"""Connections, however few descriptors there are."""


def raise_limit() -> int:
    """Raise the soft limit to the hard one, and say so; return what is in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(_as_number(hard), _MOST)
    if _as_number(soft) < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as e:
            log.warning("open files and connections: at most %d, no more to be had: %s", soft, e)
            return soft
    in_force = max(wanted, min(_as_number(soft), _MOST))
    log.info("open files and connections: at most %d, %d before", in_force, soft)
    return in_force


def connections(what: str, wanted: int, own: int = RESERVE) -> int:
    """Return how many connections a port takes: what is wanted, or what the limit leaves for it.

    Args:
        what: the port is called in the log.
        own: descriptors that the process itself may need.
    """
    limit = min(_as_number(resource.getrlimit(resource.RLIMIT_NOFILE)[0]), _MOST)
    most = max(_FEWEST, min(wanted, limit - own))
    if most < wanted:
        log.warning(
            "%s port: at most %d connections, %d would be right: this process may open %d files; "
            "raise the hard limit (LimitNOFILE, ulimit -Hn) to %d",
            *(what, most, wanted, limit, wanted + own),
        )
    else:
        log.info("%s port: at most %d connections", what, most)
    return most


def _as_number(limit: int) -> int:
    return _MOST if limit == resource.RLIM_INFINITY else limit
