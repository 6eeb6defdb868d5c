"""Which run a state folder is of: one word in it, so that another run's is told at once.

Two runs may have one name; what tells them apart is the genesis' digest. Without this word a
process would find out record by record that what it remembers is of another history.
"""

from pathlib import Path
from typing import Final

from common.errors import ConfigError
from common.ids import Digest
from services.files import make_folder, replace_file

FILE: Final = "genesis.sha256"


def claim(folder: Path, genesis: Digest, setting: str) -> None:
    """Write the run down in a folder that has none yet; it is made where it is missing.

    Raises:
        ConfigError: it is another run's; names folder, setting and fix.
        StorageError: it cannot be written.
    """
    if not check(folder, genesis, setting):
        make_folder(folder)
        replace_file(folder / FILE, f"{genesis}\n".encode())


def check(folder: Path, genesis: Digest, setting: str) -> bool:
    """Return whether the run is written down in a folder; change nothing.

    Raises:
        ConfigError: it is another run's.
    """
    try:
        found = (folder / FILE).read_text("ascii", "replace").strip()
    except FileNotFoundError:
        return False
    except OSError as e:
        raise ConfigError(f"{setting}: {folder / FILE} cannot be read: {e.strerror}") from None
    if found and found != genesis:
        raise ConfigError(
            f"{setting}: {folder} is of another run (genesis {found[:16]}..., this one is "
            f"{genesis[:16]}...): give this run a folder of its own, or delete that one if its run "
            "is over"
        )
    return bool(found)
