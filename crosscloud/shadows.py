"""Refuses to start where a folder hides one of our packages, and says the way out.

Names such as `common` and `worker` are popular, and whatever stands earlier on Python's search path
wins over ours. It imports nothing of ours, since that is what may not be found; so it is the one
file in here that does something.
"""

import importlib.util
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

OWN: Final = ("commands", "common", "coordinator", "protos", "services", "worker")
"""Our other top-level packages."""

_SETTINGS: Final = 2
"""`Exit.SETTINGS`, which cannot be imported before this check."""


def refuse_shadows() -> None:
    """Let a search path pass on which all our packages are found.

    Raises:
        SystemExit: another file or folder has one's name; all is said, with status 2.
    """
    if shadow := shadow_of(Path(__file__).resolve().parent.parent):
        with suppress(OSError):  # it may be closed; then the status says it
            os.write(2, f"crosscloud: {shadow}\n".encode())
        sys.exit(_SETTINGS)


def shadow_of(home: Path) -> str | None:
    """Return a sentence on the first package that is found elsewhere; None where none is.

    Args:
        home: the folder that holds our packages.
    """
    for name in OWN:
        found = _place(name)
        if found is None or found.parent.resolve() == home:  # a missing one the import names
            continue
        here = " (the folder that this is started in)" * (found.parent == Path.cwd())
        return (
            f"{found} stands in the way of crosscloud's own package {name!r}, which is in {home}: "
            f"rename or move it, or take {found.parent}{here} off PYTHONPATH"
            + ", or start `crosscloud` instead of `python -m crosscloud`"
            * bool(here)
        )
    return None


def _place(name: str) -> Path | None:
    """Return the file or folder that `import name` would load."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin).absolute()
    return origin.parent if spec.submodule_search_locations is not None else origin
