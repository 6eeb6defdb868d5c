"""The right to delete data files, which a deposed leader loses for good, whenever it wakes up.

A file is deleted in two steps, both by path: rename it into the trash of one's own epoch, unlink it
there. A leader that takes over takes the trash of all before it away:

    append takeover -> mkdir trash-<epoch> -> look for others -> older: rename away, empty, rmdir
                                                           '-> a newer one: this leader is deposed
    -> compute, restore, delete

Why nothing that a newer leader needs is lost, with no clock and no lease:

1. Once a trash folder is removed, nothing can be renamed into it nor unlinked in it: both fail, and
   so its owner learns that it is deposed. The rename keeps new arrivals out; a call that had found
   the folder before may still put a file in; then rmdir fails, and the folder is emptied again.
2. Trash is made by mkdir, once, and only then others are looked for. Of two leaders the one whose
   mkdir was later sees the other's: the newer one takes it away, the older one ends. The newest
   trash stays until a newer one stands, so one of them always bars the way.
3. What is found in older trash gets its name in the data folder back, durably, before it is
   unlinked: it may be needed here, and if it is not, the next collection takes it.
4. What was deleted for good before older trash was gone, an earlier leader took for garbage, after
   some record of the log that this one folded. No version was made between that record and the last
   of these deletions: not by that leader, whose commit process does one thing at a time, nor by a
   later one, see 5. So it is garbage to this leader too.
5. Taking trash away is the first order to this leader's commit process: before that it neither
   writes a file nor finds one already written that an earlier leader may still delete.

Half written files go the same way: those are removed that were there before this leader's trash
was. The spool needs none: a leader deletes the uploads of its own rounds, whose ids nobody else
draws, and of those that it found before its takeover was in the log (`leading.py`).
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from common.errors import StaleLeaderError
from services.disk.files import storage_errors, sync_folder

_TRASH: Final = re.compile(r"trash-(\d{12})(?:-\d+)?")


class Fence:
    """One leader's trash in `folder`. `take_over` comes first, once.

    Args:
        folder: of the data files.
        epoch: seq of this leader's takeover record, which is durable.
    """

    def __init__(self, folder: Path, epoch: int) -> None:
        self._folder = folder
        self._epoch = epoch
        self._trash = folder / f"trash-{epoch:012d}"

    def take_over(self) -> int:
        """Make the trash and take all older trash away; return how many files came back.

        Raises:
            StaleLeaderError: a newer leader was here.
        """
        with storage_errors(f"cannot use {self._folder}"):
            with self._alone():
                self._trash.mkdir()
            sync_folder(self._folder)
            owners = self._all_trash()
            with self._alone():
                if any(epoch > self._epoch for epoch in owners.values()):
                    raise FileExistsError
            older = sorted(name for name, epoch in owners.items() if epoch < self._epoch)
            return sum(self._take_away(name, i) for i, name in enumerate(older))

    def delete(self, path: Path) -> int:
        """Delete a data file; return its size in bytes.

        Raises:
            StaleLeaderError: a newer leader took the trash away.
        """
        trashed = self._trash / path.name
        with storage_errors(f"cannot delete {path}"), self._while_leading():
            path.rename(trashed)
            num_bytes = trashed.stat().st_size
            trashed.unlink()
        return num_bytes

    def _take_away(self, name: str, index: int) -> int:
        away = self._folder / f"{self._trash.name}-{index}"
        num_files, is_removed = 0, False
        with self._while_leading():
            (self._folder / name).rename(away)
            while not is_removed:
                found = sorted(away.iterdir())
                for path in found:
                    # It may be there again, or the unlink before the rename may come only now.
                    with contextlib.suppress(FileExistsError, FileNotFoundError):
                        os.link(path, self._folder / path.name)
                sync_folder(self._folder)
                for path in found:
                    path.unlink(missing_ok=True)
                num_files += len(found)
                is_removed = _remove(away)
        sync_folder(self._folder)
        return num_files

    def _all_trash(self) -> dict[str, int]:
        """Return the epoch of all trash, by its folder's name."""
        return {m[0]: int(m[1]) for m in map(_TRASH.fullmatch, os.listdir(self._folder)) if m}

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            newer = sorted(n for n, epoch in self._all_trash().items() if epoch >= self._epoch)
            raise StaleLeaderError(
                f"{', '.join(newer)} in {self._folder}: another coordinator leads this run, since"
                f" record {self._epoch} or later. If none does, the log was restored from an older"
                " copy than this folder: restore it from the same copy, too; or, with every"
                " coordinator stopped, move what is in the folders named here up into it, and"
                " remove them"
            ) from None

    @contextlib.contextmanager
    def _while_leading(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:  # only whoever leads takes trash away and deletes files
            raise StaleLeaderError(
                f"{self._trash} was taken away: another coordinator leads this run, since a later"
                f" record than {self._epoch}"
            ) from None


def _remove(folder: Path) -> bool:
    """Remove a folder; False where it is not empty."""
    try:
        folder.rmdir()
    except OSError as e:
        if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True
