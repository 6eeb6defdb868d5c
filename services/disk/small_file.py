"""Files that people write or pass on by hand, read whole: never a pipe, never without a bound.

A pipe in a file's place waits for a writer without a word, a device never ends, and a file of
gigabytes takes the machine's memory before anything can be said of it.
"""

from pathlib import Path
from typing import Final

from common.errors import ConfigError
from common.foreign import is_special

MOST_BYTES: Final = 10**6
"""Of settings, lists, keys and certificates; a second of parsing, thousands of lines."""


def read_small(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """Return a file's content.

    Raises:
        OSError: it cannot be read.
        ConfigError: it is no file, or larger than such files are.
    """
    if is_special(path):
        raise ConfigError(f"{path}: a device, pipe or socket; give a file")
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ConfigError(
            f"{path}: larger than {most_bytes / 1e6:g} MB, the most that such a file may have; "
            "give the right one"
        )
    return content
