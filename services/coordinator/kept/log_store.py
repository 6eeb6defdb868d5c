"""The commit log on disk: `log/<seq>.json`, one canonical `Record` each, the truth about a run.

The commit point is the exclusive creation of a name: write a draft, fsync, `link`, fsync the
folder. `link` never replaces a file, so of two leaders that write the same seq exactly one wins,
and the other learns of it. Records are never changed and never deleted.
"""

import errno
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from common.canonical import decode, digest_of, encode
from common.documents import Commit, Record
from common.errors import (
    ConfigError,
    DamagedDataError,
    MalformedDocumentError,
    StaleLeaderError,
)
from common.ids import Digest, is_digest
from services.disk.files import Draft, make_folder, storage_errors, sync_folder

_NAME: Final = re.compile(r"(\d{12})\.json")
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
_DRAFT: Final = re.compile(r"\.(\d{12})\.[0-9a-f]+\.tmp")
_REPAIR: Final = "restore the log folder from its backup"


def record_path(folder: Path, seq: int) -> Path:
    """Return where a record stands or would stand."""
    return folder / f"{seq:012d}.json"


def last_seq(folder: Path) -> int:
    """Return the highest seq of a record that is there; -1 = there is none."""
    with storage_errors(f"cannot read {folder}"):
        names = os.listdir(folder)
    return max((int(m[1]) for m in map(_NAME.fullmatch, names) if m), default=-1)


def _named_before(content: bytes) -> str:
    """Return which document a record names as the one before it, also one of another protocol."""
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    before = raw.get("previous") if isinstance(raw, dict) else None
    return before if isinstance(before, str) and is_digest(before) else ""


class LogStore:
    """A folder of records; see the module docstring. `load` comes first."""

    def __init__(self, folder: Path, genesis: Digest) -> None:
        """Open the log of the run whose genesis document has the digest `genesis`."""
        self._folder = folder
        self._tip = genesis
        self._genesis = genesis
        self._num_records = 0
        make_folder(folder)

    @property
    def num_records(self) -> int:
        """Records that were loaded or appended: the next one's seq."""
        return self._num_records

    def load(self) -> Record | None:
        """Check every record on disk; return the last, or None where the log is empty.

        Raises:
            DamagedDataError: a record is missing or unreadable, or does not follow the one before;
                names the file.
        """
        self._num_records, self._tip, last = 0, self._genesis, None
        for seq in range(last_seq(self._folder) + 1):
            content = self._content(seq)
            last = self._checked(seq, content)
            self._num_records, self._tip = seq + 1, digest_of(content)
        self._remove_drafts()
        return last

    def append(self, record: Record) -> None:
        """Make `record` the next of the log: when this returns, it is. Appending it again is fine.

        Raises:
            StaleLeaderError: another record has this seq: somebody else leads now.
            StorageFullError: no space is left; nothing was appended.
        """
        content = encode(record)
        if record.seq == self._num_records and record.previous != self._tip:
            raise AssertionError("a record must follow the last one")
        if record.seq > self._num_records:
            raise AssertionError("a record would leave a gap")
        self._create(record.seq, content)
        sync_folder(self._folder)  # also where another try of ours made the link
        if record.seq == self._num_records:
            self._num_records, self._tip = record.seq + 1, digest_of(content)

    def ends_with_ours(self) -> bool:
        """Return whether no record follows ours: no other leader has appended one."""
        return not record_path(self._folder, self._num_records).exists()

    def read(self, seq: int) -> bytes:
        """Return the canonical bytes of record `seq`, which must be below `num_records`.

        Raises:
            DamagedDataError: its file is missing.
        """
        if not 0 <= seq < self._num_records:
            raise IndexError(f"record {seq} of {self._num_records}")
        return self._content(seq)

    def commit(self, seq: int) -> Commit:
        """Return the commit in record `seq`, which must be one."""
        commit = decode(self.read(seq), Record).commit
        assert commit is not None, f"record {seq} is no commit"
        return commit

    def records(self, from_seq: int = 0) -> Iterator[bytes]:
        """Yield the canonical bytes of the records from `from_seq` on."""
        for seq in range(from_seq, self._num_records):
            yield self._content(seq)

    def _content(self, seq: int) -> bytes:
        path = record_path(self._folder, seq)
        with storage_errors(f"cannot read {path}"):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                raise DamagedDataError(f"{path} is missing from the log; {_REPAIR}") from None

    def _checked(self, seq: int, content: bytes) -> Record:
        path = record_path(self._folder, seq)
        try:
            record = decode(content, Record)
        except MalformedDocumentError as e:
            if seq == 0 and _named_before(content) not in ("", self._tip):
                raise self._of_another_run(path) from None
            raise DamagedDataError(f"{path} is damaged: {e}; {_REPAIR}") from None
        if record.seq != seq:
            raise DamagedDataError(f"{path} holds record {record.seq}; {_REPAIR}")
        if record.previous != self._tip and seq == 0:
            raise self._of_another_run(path)
        if record.previous != self._tip:
            raise DamagedDataError(
                f"{path} does not follow record {seq - 1}: one is wrong; {_REPAIR}"
            )
        return record

    def _of_another_run(self, path: Path) -> DamagedDataError:
        return DamagedDataError(
            f"{path} does not follow this run's genesis: {self._folder} is another run's log; "
            f"give this run a data_dir of its own, or set genesis to that run's file"
        )

    def _create(self, seq: int, content: bytes) -> None:
        path = record_path(self._folder, seq)
        with Draft(self._folder, path.stem) as draft:
            draft.append(content)
            draft.sync()
            with storage_errors(f"cannot create {path}"):
                try:
                    os.link(draft.path, path)
                except OSError as e:
                    # A network file system may report an error for a link that it has made.
                    self._compare(path, content, e)

    @staticmethod
    def _compare(path: Path, content: bytes, failure: OSError) -> None:
        if failure.errno in _NO_LINKS:
            raise ConfigError(
                f"{path.parent}: this file system has no hard links, which the commit log needs;"
                " choose another folder"
            ) from failure
        try:
            found = path.read_bytes()
        except FileNotFoundError:
            raise failure from None
        if found != content:
            raise StaleLeaderError(
                f"{path} already holds another record: another coordinator leads this run"
            )

    def _remove_drafts(self) -> None:
        """Remove drafts of decided seqs; one of the next seq may be another leader's."""
        for name in os.listdir(self._folder):
            if (m := _DRAFT.fullmatch(name)) and int(m[1]) < self._num_records:
                (self._folder / name).unlink(missing_ok=True)
