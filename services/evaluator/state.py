"""Where an evaluator stands, kept across restarts: its position in the log, beside the files."""

import logging
from pathlib import Path

from common import canonical
from common.errors import MalformedDocumentError
from services.disk.data_store import DataStore
from services.disk.files import Draft, make_private_folder
from worker.rounds.position import Position

log = logging.getLogger(__name__)


class EvaluatorState:
    """A folder: `position.json`, and `data/` with the version that it names."""

    def __init__(self, root: Path) -> None:
        make_private_folder(root)
        self._root = root
        self.store = DataStore(root / "data")
        self._path = root / "position.json"

    def clean(self) -> None:
        """Remove what an evaluator that was killed left half written."""
        self.store.clean()
        for draft in self._root.glob(f".*{Draft.SUFFIX}"):
            draft.unlink()

    def load(self) -> Position | None:
        """Return the saved position; None for a newcomer, or where the file is damaged."""
        try:
            return canonical.decode(self._path.read_bytes(), Position)
        except FileNotFoundError:
            return None
        except MalformedDocumentError as e:
            log.warning("%s is damaged (%s): starting from the head", self._path, e)
            return None

    def save(self, position: Position) -> None:
        """Replace the saved position."""
        with Draft(self._path.parent, self._path.stem) as draft:
            draft.append(canonical.encode(position))
            draft.rename(self._path)
