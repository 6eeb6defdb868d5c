"""The uploads of open rounds: `spool/<round>/`, one set of files per member (`upload.py`).

    <worker>.part --complete--> <worker>.done      spool/<round> --seal--> spool/<round>.sealed

The sealed folder's listing is the survivors, for ever: no shard is taken after it, and nothing is
summed before it. An upload that is not done by then is simply not read.

The first shard of an upload reserves room for all of it, until its round is dropped. Where that
would pass the spool's size, or fill the disk that the log needs too, the upload has to wait.

A round's id names a folder that is deleted: one that is none is our own bug, and touches nothing.
"""

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from common.errors import BusyError, NotAMemberError, UnknownRoundError
from common.ids import RoundId, WorkerId, is_round_id
from services.coordinator.kept.upload import DONE, IncomingUpload, ShardLayout, UploadReader
from services.disk.files import make_folder, storage_errors, sync_folder

_SEALED: Final = ".sealed"
_RETRY_AFTER_S: Final = 5.0


def _cannot() -> None:
    """A stream that nobody can end."""


class Spool:
    """All uploads of all rounds. One process writes; its threads share one `Spool`.

    Args:
        max_bytes: for all uploads together; None = no limit.
        spare_bytes: free on the disk, that uploads leave free.
    """

    def __init__(self, root: Path, *, max_bytes: int | None = None, spare_bytes: int = 0) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._spare_bytes = spare_bytes
        self._reserved: dict[RoundId, dict[WorkerId, int]] = {}
        self._lock = threading.Lock()
        self._rounds: dict[RoundId, dict[WorkerId, IncomingUpload]] = {}
        make_folder(root)

    def open_round(
        self, round_id: RoundId, members: tuple[WorkerId, ...], layout: ShardLayout
    ) -> None:
        """Take uploads of `members`, or go on after a restart; a sealed round stays sealed."""
        folder, sealed = self._folder(round_id), self._sealed(round_id)
        with self._lock, storage_errors(f"cannot write in {self._root}"):
            if round_id in self._rounds or sealed.is_dir():
                return
            folder.mkdir(exist_ok=True)
            self._rounds[round_id] = {
                w: IncomingUpload(folder, round_id, w, layout) for w in members
            }

    @contextlib.contextmanager
    def receive(
        self, round_id: RoundId, worker: WorkerId, end: Callable[[], object] = _cannot
    ) -> Iterator[IncomingUpload]:
        """Take one stream of shards.

        Args:
            end: makes the caller leave this block soon.

        Raises:
            UnknownRoundError: the round is over, or was never opened.
            NotAMemberError: `worker` is not in this round's cohort.
            BusyError: another stream of this worker is still open, or the spool is full.
        """
        upload = self._upload(round_id, worker)
        with self._lock:
            self._check_room(round_id, worker, upload)
            self._reserved.setdefault(round_id, {})[worker] = upload.sent_bytes
        with upload.claimed(end):
            yield upload

    def end_stream(self, round_id: RoundId, worker: WorkerId) -> None:
        """End an open stream whose worker has given it up: its connection may hang for long."""
        self._upload(round_id, worker).end_stream()

    def missing(self, round_id: RoundId, worker: WorkerId) -> tuple[int, ...]:
        """Return the indices of the shards that have not arrived; empty when complete."""
        return self._upload(round_id, worker).missing()

    def check_room(self, round_id: RoundId, worker: WorkerId) -> None:
        """Say whether an upload would be taken.

        Raises:
            BusyError: the spool is full.
            UnknownRoundError, NotAMemberError: as `receive`.
        """
        upload = self._upload(round_id, worker)
        with self._lock:
            self._check_room(round_id, worker, upload)

    def seal(self, round_id: RoundId) -> tuple[WorkerId, ...]:
        """Take no more shards; return the workers whose upload is complete, sorted.

        Sealing again, in whatever process, gives the same answer.

        Raises:
            UnknownRoundError: there is no such round.
        """
        folder, sealed = self._folder(round_id), self._sealed(round_id)
        self._close(round_id)
        with storage_errors(f"cannot seal round {round_id}"):
            if not sealed.is_dir():
                if not folder.is_dir():
                    raise UnknownRoundError(f"no round {round_id} in {self._root}: nothing to seal")
                sync_folder(folder)  # the names of the .done files
                folder.rename(sealed)
            sync_folder(self._root)
            return tuple(sorted(WorkerId(path.stem) for path in sealed.glob(f"*{DONE}")))

    def reader(self, round_id: RoundId, worker: WorkerId, layout: ShardLayout) -> UploadReader:
        """Return a reader of a survivor's upload; only after `seal`.

        Raises:
            DamagedDataError: its files are missing.
        """
        return UploadReader(self._sealed(round_id), worker, layout)

    def drop(self, round_id: RoundId) -> None:
        """Delete the round's uploads, sealed or not; deleting again is fine."""
        folders = self._folder(round_id), self._sealed(round_id)
        self._close(round_id)
        with storage_errors(f"cannot delete round {round_id}"):
            for folder in folders:
                while folder.is_dir():
                    with contextlib.suppress(FileNotFoundError):  # a former leader deletes it too
                        shutil.rmtree(folder)
        with self._lock:
            self._reserved.pop(round_id, None)

    def rounds(self) -> tuple[RoundId, ...]:
        """Return every round that has uploads on disk, sorted; what else lies there is not ours."""
        with storage_errors(f"cannot read {self._root}"):
            names = {name.removesuffix(_SEALED) for name in os.listdir(self._root)}
        return tuple(sorted(map(RoundId, filter(is_round_id, names))))

    def _folder(self, round_id: RoundId) -> Path:
        if not is_round_id(round_id):
            raise AssertionError(f"no round has the id {round_id!r}")
        return self._root / round_id

    def _sealed(self, round_id: RoundId) -> Path:
        return self._folder(round_id).with_name(f"{round_id}{_SEALED}")

    def _upload(self, round_id: RoundId, worker: WorkerId) -> IncomingUpload:
        with self._lock:
            uploads = self._rounds.get(round_id)
        if uploads is None:
            raise UnknownRoundError(f"round {round_id} is over, or was never opened")
        if worker not in uploads:
            raise NotAMemberError(f"{worker} is not in the cohort of round {round_id}")
        return uploads[worker]

    def _check_room(self, round_id: RoundId, worker: WorkerId, upload: IncomingUpload) -> None:
        if worker in self._reserved.get(round_id, ()):
            return
        if self._max_bytes is not None:
            taken = sum(sum(sizes.values()) for sizes in self._reserved.values())
            if taken + upload.sent_bytes > self._max_bytes:
                raise BusyError(
                    f"the spool is full: an upload of {upload.sent_bytes} bytes does not fit beside"
                    f" {taken} of {self._max_bytes}; if it never does, raise limits.max_spool_bytes"
                    " of the coordinator",
                    _RETRY_AFTER_S,
                )
        if self._spare_bytes:
            promised = sum(
                self._rounds[r][w].missing_bytes
                for r, sizes in self._reserved.items()
                if r in self._rounds
                for w in sizes
            )
            with storage_errors(f"cannot look at {self._root}"):
                free = shutil.disk_usage(self._root).free - promised
            if free - upload.sent_bytes < self._spare_bytes:
                raise BusyError(
                    f"the disk is full: {free} bytes are left for an upload of "
                    f"{upload.sent_bytes}, and {self._spare_bytes} have to stay free "
                    "(limits.spare_disk_bytes of the coordinator): make room",
                    _RETRY_AFTER_S,
                )

    def _close(self, round_id: RoundId) -> None:
        with self._lock:
            uploads = self._rounds.pop(round_id, {})
        for upload in uploads.values():
            upload.close()
