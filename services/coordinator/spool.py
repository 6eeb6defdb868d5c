"""The uploads of open rounds: `spool/<round>/`, one set of files per member (`upload.py`).

    <worker>.part --complete--> <worker>.done      spool/<round> --seal--> spool/<round>.sealed

The sealed folder's listing is the survivors, for ever: no shard is taken after it, and nothing is
summed before it. An upload that is not done by then is simply not read.
"""

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from common.errors import NotAMemberError, UnknownRoundError
from common.ids import RoundId, WorkerId
from services.coordinator.upload import DONE, Layout, Upload, UploadReader
from services.files import make_folder, storage_errors, sync_folder

_SEALED: Final = ".sealed"


class Spool:
    """All uploads of all rounds. One process writes; its threads share one `Spool`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._rounds: dict[RoundId, dict[WorkerId, Upload]] = {}
        make_folder(root)

    def open_round(self, round_id: RoundId, members: tuple[WorkerId, ...], layout: Layout) -> None:
        """Take uploads of `members`, or go on after a restart; a sealed round stays sealed."""
        with self._lock, storage_errors(f"cannot write in {self._root}"):
            if round_id in self._rounds or self._sealed(round_id).is_dir():
                return
            folder = self._root / round_id
            folder.mkdir(exist_ok=True)
            self._rounds[round_id] = {w: Upload(folder, round_id, w, layout) for w in members}

    @contextlib.contextmanager
    def receive(self, round_id: RoundId, worker: WorkerId) -> Iterator[Upload]:
        """Take one stream of shards.

        Raises:
            UnknownRoundError: the round is over, or was never opened.
            NotAMemberError: `worker` is not in this round's cohort.
            BusyError: another stream of this worker is still open.
        """
        upload = self._upload(round_id, worker)
        with upload.claimed():
            yield upload

    def missing(self, round_id: RoundId, worker: WorkerId) -> tuple[int, ...]:
        """Return the indices of the shards that have not arrived; empty when complete."""
        return self._upload(round_id, worker).missing()

    def seal(self, round_id: RoundId) -> tuple[WorkerId, ...]:
        """Take no more shards; return the workers whose upload is complete, sorted.

        Sealing again, in whatever process, gives the same answer.

        Raises:
            UnknownRoundError: there is no such round.
        """
        self._close(round_id)
        sealed = self._sealed(round_id)
        with storage_errors(f"cannot seal round {round_id}"):
            if not sealed.is_dir():
                folder = self._root / round_id
                if not folder.is_dir():
                    raise UnknownRoundError(f"no round {round_id} in {self._root}: nothing to seal")
                sync_folder(folder)  # the names of the .done files
                folder.rename(sealed)
            sync_folder(self._root)
            return tuple(sorted(WorkerId(path.stem) for path in sealed.glob(f"*{DONE}")))

    def reader(self, round_id: RoundId, worker: WorkerId, layout: Layout) -> UploadReader:
        """Return a reader of a survivor's upload; only after `seal`.

        Raises:
            DamagedDataError: its files are missing.
        """
        return UploadReader(self._sealed(round_id), worker, layout)

    def drop(self, round_id: RoundId) -> None:
        """Delete the round's uploads, sealed or not; deleting again is fine."""
        self._close(round_id)
        with storage_errors(f"cannot delete round {round_id}"):
            for folder in (self._root / round_id, self._sealed(round_id)):
                while folder.is_dir():
                    with contextlib.suppress(FileNotFoundError):  # a former leader deletes it too
                        shutil.rmtree(folder)

    def rounds(self) -> tuple[RoundId, ...]:
        """Return every round that has uploads on disk, sorted."""
        with storage_errors(f"cannot read {self._root}"):
            names = os.listdir(self._root)
        return tuple(sorted({RoundId(name.removesuffix(_SEALED)) for name in names}))

    def _sealed(self, round_id: RoundId) -> Path:
        return self._root / f"{round_id}{_SEALED}"

    def _upload(self, round_id: RoundId, worker: WorkerId) -> Upload:
        with self._lock:
            uploads = self._rounds.get(round_id)
        if uploads is None:
            raise UnknownRoundError(f"round {round_id} is over, or was never opened")
        if worker not in uploads:
            raise NotAMemberError(f"{worker} is not in the cohort of round {round_id}")
        return uploads[worker]

    def _close(self, round_id: RoundId) -> None:
        with self._lock:
            uploads = self._rounds.pop(round_id, {})
        for upload in uploads.values():
            upload.close()
