"""Sees to it that a state folder has one owner, and is kept by one process at a time.

    genesis.sha256   the run: two runs may have one name, their genesis' digests differ
    owner            the role and name that keeps it, as "worker aws"
    lock             locked (flock) for as long as that process lives, so a kill releases it too;
                     says who it is, for people

Without them a process would find out record by record that what it remembers is of another history,
and two processes would replace each other's saves. A folder on a filesystem without locks is said
to be so and used all the same. It refuses nothing to a process of before these words.
"""

import contextlib
import fcntl
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common import canonical
from common.documents import Genesis
from common.errors import ConfigError
from services.config.settings import CoordinatorSettings, EvaluatorSettings, WorkerSettings
from services.disk.files import make_folder, replace_file, storage_errors

log = logging.getLogger(__name__)

RUN: Final = "genesis.sha256"
OWNER: Final = "owner"
LOCK: Final = "lock"

_TRIES: Final = 4
_PAUSE_S: Final = 0.5
"""A process that was told to end may be about to; `runs_on` holds a lock for microseconds."""

_MOST_BYTES: Final = 512

_held: Final[set[int]] = set()
"""Descriptors of locks that this process holds."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a process wants: to keep its state in a folder, alone.

    Args:
        setting: that names the folder.
        who: role and name, as "worker aws".
        shared: with others of the same `who`, among whom something else decides: standbys.
    """

    folder: Path
    setting: str
    genesis: Genesis
    who: str
    shared: bool = False

    @property
    def role(self) -> str:
        """The first word of `who`."""
        return self.who.partition(" ")[0]


def claim_of(
    settings: CoordinatorSettings | WorkerSettings | EvaluatorSettings, genesis: Genesis
) -> Claim:
    """Return what a process on these settings wants."""
    match settings:
        case CoordinatorSettings():
            standby = settings.redis_url is not None  # the lease in it says who leads
            return Claim(settings.data_dir, "data_dir", genesis, "coordinator", standby)
        case WorkerSettings():
            who = f"worker {settings.name}"
        case EvaluatorSettings():
            who = f"evaluator {settings.name}"
    return Claim(settings.state_dir, "state_dir", genesis, who)


@contextlib.contextmanager
def held(claim: Claim, pause: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Keep the folder for as long as the context lasts; it is made where it is missing.

    Args:
        pause: waits so many seconds.

    Raises:
        ConfigError: it is another's, or a process runs on it; names setting and fix.
        StorageError: it cannot be written.
    """
    check(claim)
    make_folder(claim.folder)
    with _locked(claim, pause):
        if not check(claim):
            replace_file(claim.folder / RUN, f"{canonical.digest(claim.genesis)}\n".encode())
        if not _word(claim, OWNER):
            replace_file(claim.folder / OWNER, f"{claim.who}\n".encode())
        yield


def check(claim: Claim) -> bool:
    """Return whether the run is written down in the folder; change nothing.

    Raises:
        ConfigError: it is another run's, or another process's of this one.
    """
    setting, folder, ours = claim.setting, claim.folder, canonical.digest(claim.genesis)
    run, owner = _word(claim, RUN), _word(claim, OWNER)
    if run and run != ours:
        raise ConfigError(
            f"{setting}: {folder} is of another run (genesis {run[:16]}..., this one is "
            f"{ours[:16]}...): give this run a folder of its own, or delete that one if its run "
            "is over"
        )
    if owner and owner != claim.who:
        raise ConfigError(
            f"{setting}: {folder} is kept for {owner}, and this is {claim.who}: give it a folder "
            "of its own"
        )
    return bool(run)


def runs_on(claim: Claim) -> str | None:
    """Return who runs on the folder, "" for nobody; None where that cannot be told."""
    try:
        fd = os.open(claim.folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return ""
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return _who_holds(fd, claim)
    except OSError:
        return None
    finally:
        os.close(fd)
    return ""


@contextlib.contextmanager
def _locked(claim: Claim, pause: Callable[[float], None]) -> Iterator[None]:
    with storage_errors(f"cannot use {claim.folder / LOCK}"):
        fd = os.open(claim.folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    _held.add(fd)
    try:
        if _take(fd, claim, pause):
            who = f"{claim.who} of run {claim.genesis.run}, process {os.getpid()} on "
            with storage_errors(f"cannot use {claim.folder / LOCK}"):
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{who}{socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        _held.discard(fd)
        os.close(fd)


def _take(fd: int, claim: Claim, pause: Callable[[float], None]) -> bool:
    """Lock the open file; return whether its filesystem can.

    Raises:
        ConfigError: another process has it, and goes on having it.
    """
    how = (fcntl.LOCK_SH if claim.shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    for left in reversed(range(_TRIES)):
        try:
            fcntl.flock(fd, how)
        except (BlockingIOError, PermissionError):
            if left:
                pause(_PAUSE_S)
        except OSError as e:
            log.warning(
                "%s: no locks in %s (%s): nothing keeps a second %s from running on it",
                claim.setting,
                claim.folder,
                e.strerror,
                claim.role,
            )
            return False
        else:
            return True
    raise ConfigError(
        f"{claim.setting}: this {claim.role} runs here already: {_who_holds(fd, claim)} keeps its "
        f"state in {claim.folder}: leave it alone, or end it first; another {claim.role} has a "
        f"{claim.setting} of its own"
    )


def _who_holds(fd: int, claim: Claim) -> str:
    found = os.pread(fd, _MOST_BYTES, 0).decode("utf-8", "replace").strip()
    return found or f"another {claim.role}"


def _word(claim: Claim, name: str) -> str:
    path = claim.folder / name
    try:
        return path.read_text("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""
    except OSError as e:
        raise ConfigError(f"{claim.setting}: {path} cannot be read: {e.strerror}") from None


def _let_go() -> None:
    """A process forked from this one, by a learner say, must not hold the locks beyond its end."""
    for fd in _held:
        os.close(fd)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
