"""Starts the processes of a federation on this machine, and ends them in order, all of them.

Each runs in a session of its own: Ctrl-C reaches only the parent, which then ends them. Their own
children are on a leash (`services/wire/child.py`) and end with them.
"""

import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from common.errors import CrosscloudError

_OVERRIDES: Final = "CROSSCLOUD_"


class ProcessFailedError(CrosscloudError):
    """A process ended with an error; the message says which, how, and the end of its log."""

    def __init__(self, process: "LocalProcess") -> None:
        super().__init__(
            f"{process.name} ended with code {process.exit_code}; the last lines of "
            f"{process.log_path}:\n{process.last_lines()}"
        )


class LocalProcess:
    """One child, its output in a file.

    Args:
        name: for people.
        command: program and arguments.
        log_path: appended to, so that a restart keeps what came before.
        environment: added to our own, of which settings of other processes are left out.
    """

    def __init__(
        self, name: str, command: Sequence[str], log_path: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log_path = log_path
        self.ended_by_us = False
        """Whether we told it to: its exit code is then no failure."""
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**_surroundings(), **environment},
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative where a signal ended it."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to end; one that has ended is fine."""
        self.ended_by_us |= self.exit_code is None
        self._process.terminate()

    def wait(self, timeout_s: float) -> bool:
        """Return whether it ended within `timeout_s`."""
        try:
            self._process.wait(max(timeout_s, 0.0))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it at once, as a power cut would; one that has ended is fine."""
        self.ended_by_us |= self.exit_code is None
        self._process.kill()
        self._process.wait()

    def last_lines(self, num_lines: int = 15) -> str:
        """Return the end of its log."""
        with self.log_path.open("rb") as log:
            log.seek(max(0, self.log_path.stat().st_size - 16384))
            lines = log.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-num_lines:])


def _surroundings() -> dict[str, str]:
    """Return our environment without settings: a federation's files say all that it is told."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OVERRIDES)}


def end_all(processes: Iterable[LocalProcess], *, alone_s: float, told_s: float) -> None:
    """Let every process end; then ask for it; then kill.

    Args:
        processes: in the order in which they are asked.
        alone_s: seconds for all of them to end without being asked.
        told_s: seconds to end after SIGTERM.
    """
    running = _still_running(tuple(processes), alone_s)
    for process in running:
        process.terminate()
    for process in _still_running(running, told_s):
        process.kill()


def _still_running(processes: Sequence[LocalProcess], timeout_s: float) -> list[LocalProcess]:
    deadline_s = time.monotonic() + timeout_s
    return [p for p in processes if not p.wait(deadline_s - time.monotonic())]
