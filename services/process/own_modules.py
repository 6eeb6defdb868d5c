"""The command line and the search path with which a process of ours starts another.

The child imports what we import, from wherever we were started, and nothing besides: `-P` keeps it
from looking first in a working folder of its own, where somebody else's `worker.py` may lie.
"""

import os
import sys


def own_command(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command line of `python -m module arguments...`."""
    return (sys.executable, "-P", "-m", module, *arguments)


def own_path() -> dict[str, str]:
    """Return what has to stand in its environment."""
    return {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
