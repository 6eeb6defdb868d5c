"""Names of runs, organisations and processes, as they stand in files, URIs and labels."""

from common.errors import (
    ConfigError,
)
from common.ids import is_worker_id


def check_name(name: str, what: str) -> None:
    """Let a well-formed name pass.

    Raises:
        ConfigError: `name` would not survive a URI, a file name or a metric label unchanged.
    """
    if not is_worker_id(name):
        raise ConfigError(
            f"{what} {name!r}: use 1 to 63 lower-case letters, digits and inner hyphens"
        )
