"""Tells which of our files a file is, by its keys: who gives the wrong one is told just that.

A worker's and an evaluator's have the same fields, but those that only a worker's may have: where
none of these stands there, it may be either.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import BaseModel

from common.errors import ConfigError
from services.config.yaml_file import Written

_NAMES: Final[Mapping[str, str]] = {
    "members": "a list of members",
    "genesis": "a genesis.json",
    "coordinator": "a coordinator's file",
    "operator": "an operator's file",
    "run": "a run's file",
    "worker": "a worker's file",
    "state": "a worker's or an evaluator's file",
    "evaluator": "an evaluator's file",
    "plan": "a plan's file",
}
TELLING: Final[Mapping[str, frozenset[str]]] = {
    "genesis": frozenset({"schema", "version0"}),
    "coordinator": frozenset({"data_dir", "members"}),
    "operator": frozenset({"run"}),
    "run": frozenset({"stop", "preset", "algorithm"}),
    "worker": frozenset({"pace", "trust", "resolve_timeout_s"}),
    "state": frozenset({"state_dir"}),
}
"""Keys by which a file is told, the first that fits; those of a file above may stand below, too."""


def process_in(keys: Iterable[str]) -> str | None:
    """Return what a file is for: a name in `_NAMES`; None where its keys do not tell."""
    keys = set(keys)
    if keys == {"members"}:
        return "members"
    return next((process for process, telling in TELLING.items() if telling & keys), None)


def refuse_other(kind: type[BaseModel], process: str, written: Written) -> None:
    """Let the file of a process pass, and any that may be a broken one.

    Args:
        kind: of the settings that are wanted.
        process: whose they are: "worker", "run", "plan".

    Raises:
        ConfigError: it has keys that these settings do not know, and is another one of our files.
    """
    unknown = [key for key in written.value if key not in kind.model_fields]
    found = process_in(written.value)
    fits = found in (None, process) or (found == "state" and process in ("worker", "evaluator"))
    if unknown and not fits:
        keys = ", ".join(unknown[:3]) + ", ..." * (len(unknown) > 3)
        raise ConfigError(
            f"{written.source}: this is {_NAMES[str(found)]} (it has {keys}); "
            f"give {_NAMES[process]}, {process}.yaml say"
        )
