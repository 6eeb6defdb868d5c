"""Reads genesis.json: the document that a process pins as its run."""

import json
from pathlib import Path
from typing import Final

from common import canonical
from common.documents import PROTOCOL, Genesis
from common.errors import ConfigError, MalformedDocumentError
from services.config.soundness import refuse_unsound
from services.disk.small_file import read_small

MOST_BYTES: Final = 64 * 10**6
"""Hundreds of thousands of parameters' names and shapes."""


def first_files(path: Path) -> Path:
    """Return the folder beside a genesis.json in which the first version's files lie."""
    return path.parent / "data"


def load_genesis(path: Path) -> Genesis:
    """Return the genesis in the file, whose algorithm every process refuses alike.

    Raises:
        ConfigError: missing, not a genesis, or of an unsound algorithm; says what to do.
    """
    try:
        content = read_small(path, MOST_BYTES).rstrip(b"\n")
    except OSError as e:
        raise ConfigError(
            f"{path}: cannot be read: {e.strerror}; take the run's own file"
        ) from None
    _refuse_other_protocol(path, content)
    try:
        genesis = canonical.decode(content, Genesis)
    except MalformedDocumentError as e:
        raise ConfigError(
            f"{path}: {e}; it must be the file that `crosscloud genesis` wrote, byte for byte"
        ) from None
    if genesis.validation:
        raise ConfigError(
            f"{path}: validation is {genesis.validation[:16]!r}, and no weighting of this version "
            "measures on a shard: make the file again with `crosscloud genesis`"
        )
    try:
        refuse_unsound(genesis.algorithm, genesis.stop)
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from None
    return genesis


def _refuse_other_protocol(path: Path, content: bytes) -> None:
    """Let pass what this program began, or what is no genesis at all: that is said better later."""
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError):
        return
    if not isinstance(raw, dict) or not {"algorithm", "version0"} <= raw.keys():
        return
    if (protocol := raw.get("protocol", "5 or older")) != PROTOCOL:
        raise ConfigError(
            f"{path}: this run was begun under protocol {str(protocol)[:20]}, this program has "
            f"protocol {PROTOCOL}: its folders, log and versions cannot be read. Finish it with "
            "the crosscloud that began it, or begin a new run with `crosscloud genesis`, new "
            "folders, and the model that `crosscloud export` of the older one wrote"
        )
