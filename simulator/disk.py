"""A disk that forgets what was not made durable.

Programs work on a real folder (in memory, for speed); the calls by which they change names and make
things durable are watched. After a power cut the folder is put back to what a disk may hold:

    a file's content   what it was at its last fsync, or empty
    a folder's names   what they were at its last fsync, and perhaps the first few changes since

Killing a process alone loses nothing: the kernel lives on.
"""

import contextlib
import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest import mock

from simulator.host import HOST, happens

_Entry = tuple[int, bool]  # inode, is it a folder
_Names = dict[str, _Entry]
_Change = dict[str, _Entry | None]  # what one call did to a folder's names: set or removed

_OPEN: Final = os.open
_WATCHED: Final = ("open", "fsync", "link", "rename", "replace", "unlink", "mkdir", "rmdir")


@dataclass(eq=False)
class Disk:
    """One disk; see the module docstring. What is there at first is durable."""

    root: Path
    _contents: dict[int, bytes] = field(default_factory=dict)
    _names: dict[int, _Names] = field(default_factory=dict)
    _changes: dict[int, list[_Change]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self._settle()

    def cut_power(self, rng: random.Random, *, keep: bool) -> None:
        """Lose what is not durable; `keep` = not all of it, as luck has it."""
        now: dict[int, Path] = {}
        for folder, _, files in os.walk(self.root):
            for name in files:
                path = Path(folder, name)
                now[path.stat().st_ino] = path
        lost = self.root.with_name(self.root.name + ".lost")
        inode = self.root.stat().st_ino
        self.root.rename(lost)
        now = {i: lost / p.relative_to(self.root) for i, p in now.items()}
        self._restore(self.root, inode, now, rng if keep else None)
        shutil.rmtree(lost)
        self._settle()

    def _restore(
        self, folder: Path, inode: int, now: dict[int, Path], rng: random.Random | None
    ) -> None:
        folder.mkdir()
        names = dict(self._names.get(inode, {}))
        changes = self._changes.get(inode, [])
        for change in changes[: rng.randint(0, len(changes)) if rng else 0]:
            for name, entry in change.items():
                names.pop(name, None)
                if entry is not None:
                    names[name] = entry
        for name, (child, is_folder) in names.items():
            if is_folder:
                self._restore(folder / name, child, now, rng)
                continue
            content = self._contents.get(child, b"")
            if rng and child in now and rng.random() < 0.5:
                content = now[child].read_bytes()
            (folder / name).write_bytes(content)

    def _settle(self) -> None:
        """Take everything that is there as durable."""
        self._contents, self._names, self._changes = {}, {}, {}
        for folder, _, files in os.walk(self.root):
            self._sync_folder(folder, os.stat(folder).st_ino)
            for name in files:
                path = Path(folder, name)
                self._contents[path.stat().st_ino] = path.read_bytes()

    def holds(self, path: Path) -> bool:
        """Return whether a file would be there, as it is, after a power cut now."""
        at = path
        while at != self.root:
            names = self._names.get(at.parent.stat().st_ino, {})
            if names.get(at.name) != _entry(at):
                return False
            at = at.parent
        return self._contents.get(path.stat().st_ino) == path.read_bytes()

    # What was watched -----------------------------------------------------------------------------

    def synced(self, path: str, status: os.stat_result) -> None:
        """A file or folder was made durable."""
        if stat.S_ISDIR(status.st_mode):
            self._sync_folder(path, status.st_ino)
        else:
            fd = _OPEN(path, os.O_RDONLY)
            self._contents[status.st_ino] = os.read(fd, status.st_size)
            os.close(fd)

    def _sync_folder(self, path: str | Path, inode: int) -> None:
        with os.scandir(path) as entries:
            self._names[inode] = {e.name: (e.inode(), e.is_dir()) for e in entries}
        self._changes[inode] = []

    def changed(self, folder: int, change: _Change) -> None:
        """Names of a folder, given by its inode, changed."""
        self._changes.setdefault(folder, []).append(change)


@contextlib.contextmanager
def watched(*disks: Disk) -> Iterator[None]:
    """Watch the calls of every host; each belongs to the disk that its path is on."""
    watch = _Watch({str(d.root): d for d in disks})
    with contextlib.ExitStack() as patches:
        for name in _WATCHED:
            real = getattr(os, name)
            handler = getattr(watch, name)
            replacement = (_opener if name == "open" else _watcher)(real, handler)
            replacement.__name__ = name
            patches.enter_context(mock.patch.object(os, name, replacement))
        yield


def _watcher(real: Callable[..., Any], handler: Callable[..., Any]) -> Any:
    def call(*args: Any, **more: Any) -> Any:
        if HOST.get() is None:
            return real(*args, **more)
        return handler(real, *[a if type(a) is int else os.fspath(a) for a in args], **more)

    return call


def _opener(real: Callable[..., Any], handler: Callable[..., Any]) -> Any:
    def call(path: Any, flags: int, *args: Any, **more: Any) -> Any:
        if not flags & os.O_CREAT or HOST.get() is None:
            return real(path, flags, *args, **more)
        return handler(real, os.fspath(path), flags, *args, **more)

    return call


class _Watch:
    """Does each call and tells the disk; a dead host's calls are not done."""

    def __init__(self, disks: dict[str, Disk]) -> None:
        self._disks = disks

    def _disk(self, path: str) -> Disk | None:
        return next((d for root, d in self._disks.items() if path.startswith(root)), None)

    def _note(self, folder: str, change: _Change) -> None:
        if (disk := self._disk(folder)) is not None:
            disk.changed(os.stat(folder).st_ino, change)

    def open(self, real: Any, path: Any, flags: int, *args: Any, **more: Any) -> Any:
        """A file that is made anew is a new name."""
        happens(f"create {os.path.basename(path)}")
        is_new = not os.path.exists(path)
        fd = real(path, flags, *args, **more)
        if is_new:
            folder, name = os.path.split(path)
            self._note(folder, {name: (os.fstat(fd).st_ino, False)})
        return fd

    def fsync(self, real: Any, fd: int) -> None:
        """Content, or names, are durable now."""
        path = os.readlink(f"/proc/self/fd/{fd}")
        happens(f"fsync {os.path.basename(path)}")
        if (disk := self._disk(path)) is not None:
            disk.synced(path, os.fstat(fd))

    def link(self, real: Any, source: Any, target: Any) -> None:
        """A second name."""
        happens(f"link {os.path.basename(target)}")
        real(source, target)
        self._named(target)

    def rename(self, real: Any, source: Any, target: Any) -> None:
        """One name becomes another: in one folder both changes or none, in two in any order."""
        (former, before), (folder, name) = os.path.split(source), os.path.split(target)
        if former == folder:
            happens(f"rename {before} to {name}")
            real(source, target)
            self._note(folder, {before: None, name: _entry(target)})
        else:
            happens(f"move to {os.path.basename(folder)}")
            real(source, target)
            self._note(former, {before: None})
            self._named(target)

    replace = rename

    def mkdir(self, real: Any, path: Any, *args: Any, **more: Any) -> None:
        """A new folder."""
        happens(f"mkdir {os.path.basename(path)}")
        real(path, *args, **more)
        self._named(path)

    def unlink(self, real: Any, path: Any, *, dir_fd: int | None = None) -> None:
        """A name goes."""
        folder, name = os.path.split(path)
        happens(
            f"unlink {name}"
            if dir_fd is not None
            else f"unlink in {os.path.basename(folder)} {name}"
        )
        real(path, dir_fd=dir_fd)
        self._removed(path, dir_fd)

    def rmdir(self, real: Any, path: Any, *, dir_fd: int | None = None) -> None:
        """A folder goes."""
        happens(f"rmdir {os.path.basename(path)}")
        real(path, dir_fd=dir_fd)
        self._removed(path, dir_fd)

    def _named(self, path: Any) -> None:
        folder, name = os.path.split(path)
        self._note(folder, {name: _entry(path)})

    def _removed(self, path: Any, dir_fd: int | None) -> None:
        folder, name = os.path.split(path)
        self._note(
            folder if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}"), {name: None}
        )


def _entry(path: Any) -> _Entry:
    status = os.stat(path)
    return status.st_ino, stat.S_ISDIR(status.st_mode)
