"""Reads genesis.json: the document that a process pins as its run."""

from pathlib import Path
from typing import Final

from common import canonical
from common.documents import Genesis
from common.errors import ConfigError, MalformedDocumentError
from services.disk.small_file import read_small

MOST_BYTES: Final = 64 * 10**6
"""Hundreds of thousands of parameters' names and shapes."""


def first_files(path: Path) -> Path:
    """Return the folder beside a genesis.json in which the first version's files lie."""
    return path.parent / "data"


def load_genesis(path: Path) -> Genesis:
    """Return the genesis in the file.

    Raises:
        ConfigError: missing or not a genesis; says what to do.
    """
    try:
        return canonical.decode(read_small(path, MOST_BYTES).rstrip(b"\n"), Genesis)
    except OSError as e:
        raise ConfigError(
            f"{path}: cannot be read: {e.strerror}; take the run's own file"
        ) from None
    except MalformedDocumentError as e:
        raise ConfigError(
            f"{path}: {e}; it must be the file that `crosscloud genesis` wrote, byte for byte"
        ) from None
