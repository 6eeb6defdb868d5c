"""Reading genesis.json: the document that a process pins as its run."""

from pathlib import Path

from common import canonical
from common.documents import Genesis
from common.errors import ConfigError, MalformedDocumentError


def load_genesis(path: Path) -> Genesis:
    """Return the genesis in the file.

    Raises:
        ConfigError: missing or not a genesis; says what to do.
    """
    try:
        return canonical.decode(path.read_bytes().rstrip(b"\n"), Genesis)
    except OSError as e:
        raise ConfigError(
            f"{path}: cannot be read: {e.strerror}; take the run's own file"
        ) from None
    except MalformedDocumentError as e:
        raise ConfigError(
            f"{path}: {e}; it must be the file that `crosscloud genesis` wrote, byte for byte"
        ) from None
