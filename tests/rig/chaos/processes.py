"""Every process of one federation, found in /proc by a mark that children inherit.

The mark is the federation's folder. A Valkey server writes its title over its environment, but
works in that folder.
"""

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MARK: Final = "CHAOS_FEDERATION"
_MODULES: Final = {
    "services.coordinator.bulk": "bulk",
    "services.coordinator.commit": "commit",
    "services.worker.trainer_process": "trainer",
}
_COMMANDS: Final = {"coordinator": "control", "evaluator": "evaluator", "worker": "link"}


@dataclass(frozen=True, slots=True)
class Found:
    """One live process; `role` is a row of the fault table, "" for anything else."""

    pid: int
    parent: int
    role: str

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended is fine."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def running(folder: Path) -> Iterator[Found]:
    """Yield every live process of the federation in `folder`, but this one."""
    mark = f"{MARK}={folder}".encode()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            marked = mark in (path / "environ").read_bytes().split(b"\0")
            if not marked and folder not in (path / "cwd").readlink().parents:
                continue
            words = (path / "cmdline").read_bytes().decode().split("\0")
            state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it ended while we looked, or is not ours
        if state != "Z" and int(path.name) != os.getpid():
            yield Found(int(path.name), int(parent), _role(words))


def role_of(pid: int) -> str:
    """Return the role of one process."""
    return _role(Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0"))


def pid_of(parent: int, role: str) -> int:
    """Return the child of `parent` that has a role."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return next(pid for pid in map(int, children) if role_of(pid) == role)


def _role(words: list[str]) -> str:
    if "valkey-server" in words[0]:
        return "valkey"
    if words[0].endswith("toxiproxy-server"):
        return "toxiproxy"
    for word, after in itertools.pairwise(words):
        if word == "-m" and after in _MODULES:
            return _MODULES[after]
        if word == "crosscloud" and after in _COMMANDS:
            return _COMMANDS[after]
    return ""
