"""Finds what of a run is in a folder, and reads it; nothing there is changed, or trusted.

FOLDER/log/  data/               a coordinator's data_dir, or a copy of it
FOLDER/coordinator/log/ ...      runs/<name> of a demo that was told to keep it
genesis.json, certs/ca.pem       there, or beside it
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from commands.report.run_folder import kept_genesis
from common import canonical
from common.canonical import MAX_DOCUMENT_BYTES
from common.documents import Genesis, Record, Version
from common.errors import ConfigError, DamagedDataError, MalformedDocumentError
from common.ids import Digest, is_digest
from services.config.genesis_file import first_files, load_genesis
from services.coordinator.kept.files import DATA, LOG, CoordinatorFiles
from services.coordinator.kept.log_store import last_seq, record_path
from services.disk.data_store import DataStore
from services.disk.files import storage_errors
from services.disk.small_file import read_small

_COORDINATOR: Final = "coordinator"
_CA: Final = Path("certs", "ca.pem")


@dataclass(frozen=True, slots=True)
class KeptRun:
    """See the module docstring.

    Args:
        files: log and data.
        ca: the federation's CA certificate beside it; None where there is none.
        first: folders beside the log's own data that may hold version 0.
    """

    files: CoordinatorFiles
    genesis: Genesis
    ca: Path | None
    first: tuple[Path, ...]

    @property
    def data(self) -> Path:
        """The folder of files by digest."""
        return self.files.data

    def num_records(self) -> int:
        """Return how long the log is, by the number of its last record."""
        return last_seq(self.files.log) + 1

    def record(self, seq: int) -> Record:
        """Return a record; whether it follows is not asked here.

        Raises:
            DamagedDataError: it is missing, or is none; names the file.
        """
        path = record_path(self.files.log, seq)
        try:
            return canonical.decode(read_small(path, MAX_DOCUMENT_BYTES), Record)
        except FileNotFoundError:
            raise DamagedDataError(f"record {seq}: {path} is missing") from None
        except OSError as e:
            raise DamagedDataError(f"record {seq}: {path} cannot be read: {e.strerror}") from None
        except ConfigError as e:
            raise DamagedDataError(f"record {seq}: {e}") from None
        except MalformedDocumentError as e:
            raise DamagedDataError(f"record {seq}: {path} is damaged: {e}") from None

    def digests(self) -> list[Digest]:
        """Return the names of all files that are named by their content."""
        with storage_errors(f"cannot read {self.data}"):
            return sorted(Digest(n) for n in os.listdir(self.data) if is_digest(n))


def find_run(folder: Path, genesis: Path | None) -> KeptRun:
    """Return the run in a folder.

    Args:
        genesis: the run's genesis.json where it lies elsewhere.

    Raises:
        ConfigError: there is none, or no genesis; says what to name.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; name a coordinator's data_dir, or a copy")
    places = map(CoordinatorFiles, (folder, folder / _COORDINATOR))
    files = next((f for f in places if f.log.is_dir()), None)
    if files is None or not files.data.is_dir():
        raise ConfigError(
            f"{folder} holds no {LOG} and {DATA}: name a coordinator's data_dir, a copy of it, or "
            "the folder of a demo that ran with --keep; a worker's folder has no log"
        )
    place = files.folder
    path = genesis or kept_genesis(place) or kept_genesis(folder)
    if path is None:
        raise ConfigError(f"{folder}: no genesis.json there or beside it; name it with --genesis")
    beside = (folder, place, place.parent)
    ca = next((p / _CA for p in beside if (p / _CA).is_file()), None)
    made = place.parent / "genesis" / path.name
    first = dict.fromkeys(map(first_files, (path, made)))
    return KeptRun(files, load_genesis(path), ca, tuple(p for p in first if p.is_dir()))


class Files:
    """Files by digest, of the first of several stores that has them, each checked as it is read.

    Args:
        own: the run's, in which all should be.
        others: asked before it.
    """

    def __init__(self, own: DataStore, others: Iterable[DataStore]) -> None:
        self._own = own
        self._all = (*others, own)

    def holder(self, digest: Digest) -> DataStore:
        """Return the store that has a file; the run's own where none has it."""
        return next((s for s in self._all if s.has(digest)), self._own)

    def read(self, digest: Digest) -> bytes:
        """Return a file of a version that is what its name says; a segment is smaller, too.

        Raises:
            DamagedDataError: it is missing, or is not.
        """
        store = self.holder(digest)
        if store.size(digest) > MAX_DOCUMENT_BYTES:
            raise DamagedDataError(f"{store.path(digest)} is larger than any file of a version")
        return store.read(digest, verify=True)

    def version(self, digest: Digest) -> Version:
        """Return a version's document.

        Raises:
            DamagedDataError: it is missing, or none.
        """
        try:
            version = canonical.decode(self.read(digest), Version)
        except MalformedDocumentError as e:
            raise DamagedDataError(f"{self._own.path(digest)} is no version: {e}") from None
        if not all(map(is_digest, version.blobs())):
            raise DamagedDataError(f"{self._own.path(digest)} is no version: it names no files")
        return version

    def missing(self, digest: Digest) -> Iterator[str]:
        """Yield the paths of a version's files that no store has."""
        if not self.holder(digest).has(digest):
            yield str(self._own.path(digest))
            return
        for blob in dict.fromkeys(self.version(digest).blobs()):
            if not self.holder(blob).has(blob):
                yield str(self._own.path(blob))
