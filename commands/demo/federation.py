"""A whole federation on this machine: real processes, mTLS on loopback, one folder.

`crosscloud demo` and the integration tests drive it. It restarts nothing by itself, and however it
ends, no process of it is left.
"""

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from commands.demo.layout import COORDINATOR, EVALUATOR, OPERATOR, FederationSpec, Layout
from commands.demo.processes import LocalProcess, ProcessFailedError, end_all
from common.errors import CrosscloudError
from services.config.settings import load_operator
from services.process.exit_status import Exit
from services.process.own_modules import own_command, own_path
from services.trust.identity import Role
from services.wire.credentials import channel_credentials
from services.wire.operator_link import NotRecordedError, OperatorLink, RunStatus, UnreachableError

_PATIENT_S: Final = 20.0
_IMPATIENT_S: Final = 5.0
_TOLD_S: Final = 3.0
_SAME_CORES: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Federation:
    """Coordinator, evaluator, workers. As a context manager it starts and stops them.

    Args:
        spec: what to set up.
    """

    def __init__(self, spec: FederationSpec) -> None:
        self.layout = Layout(spec)
        self.workers = tuple(w.name for w in spec.workers)
        self.interrupted = threading.Event()
        """Set it, in a signal handler say, and whatever waits here raises KeyboardInterrupt."""
        self.unanswered = ""
        """Why the last `status` got no answer; "" where it got one."""
        self._processes: dict[str, LocalProcess] = {}
        self._commands = {COORDINATOR: COORDINATOR, EVALUATOR: EVALUATOR}
        self._link: OperatorLink | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None
    ) -> None:
        self.stop(alone_s=_PATIENT_S if kind is None else _IMPATIENT_S)

    def prepare(self) -> None:
        """Write the folder and make the genesis; settings files may be edited before `start`.

        Raises:
            ConfigError: the folder is not empty, or a name is not well-formed.
            ProcessFailedError: the genesis could not be made.
        """
        self.layout.write()
        self.run("genesis", "--config", self.config("run"), "--out", self.layout.genesis.parent)

    def start(self) -> None:
        """Start every process, after `prepare` where that was not called.

        Raises:
            ConfigError: the folder is not empty, or a name is not well-formed.
            ProcessFailedError: the genesis could not be made.
        """
        if not self.layout.genesis.exists():
            self.prepare()
        for name in (COORDINATOR, EVALUATOR, *self.workers):
            self._launch(name)

    def start_standby(self, name: str) -> None:
        """Start another coordinator, whose settings file the caller has written."""
        self._commands[name] = COORDINATOR
        self._launch(name)

    def config(self, name: str) -> Path:
        """Return the settings file of a process, of the "operator", or of the "run"."""
        return self.layout.config(name)

    def run(self, command: str, *arguments: object) -> None:
        """Run another `crosscloud` command to its end.

        Raises:
            ProcessFailedError: it did not end with 0.
        """
        process = self._start(command, (command, *map(str, arguments)))
        try:
            while process.exit_code is None:
                self.sleep(0.05)
        finally:
            process.kill()
        if process.exit_code:
            raise ProcessFailedError(process)

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            KeyboardInterrupt: `interrupted` is set.
        """
        if self.interrupted.wait(seconds):
            raise KeyboardInterrupt

    def status(self) -> RunStatus | None:
        """Ask the coordinator how the run is; None where it does not answer (yet, or any more)."""
        if not self._link:
            settings = load_operator(self.layout.config(OPERATOR), environ={})
            credentials = channel_credentials(settings.tls, settings.run, Role.OPERATOR)
            self._link = OperatorLink(settings.coordinator, credentials, timeout_s=3.0)
        try:
            found = self._link.status()
        except UnreachableError as e:
            self.unanswered = str(e)
            return None
        self.unanswered = ""
        return found

    def finished(self) -> bool:
        """Return whether the run came to its end; workers may still be ending.

        Raises:
            ProcessFailedError: a process failed.
        """
        self.check()
        return self._processes[COORDINATOR].exit_code == Exit.OVER

    def wait(self, timeout_s: float) -> None:
        """Wait for the run's end.

        Raises:
            ProcessFailedError: a process failed.
            TimeoutError: the run did not end within `timeout_s`.
        """
        deadline_s = time.monotonic() + timeout_s
        while not self.finished():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the run did not end within {timeout_s} s")
            self.sleep(0.1)

    def check(self) -> None:
        """Let a sound federation pass; whoever was ended from here has not failed.

        Raises:
            ProcessFailedError: a process failed.
        """
        for process in self._processes.values():
            if process.exit_code and not process.ended_by_us:
                raise ProcessFailedError(process)

    def process(self, name: str) -> LocalProcess:
        """Return the newest process of a worker, the coordinator or the evaluator."""
        return self._processes[name]

    def restart(self, name: str) -> None:
        """Start a process that ended again, on the state that it left."""
        assert self._processes[name].exit_code is not None, f"{name} still runs"
        self._launch(name)

    def stop(self, *, alone_s: float = _PATIENT_S, told_s: float = 10.0) -> None:
        """End the run and every process; calling it again is fine.

        Args:
            alone_s: seconds to end after the operator's stop, or after the run's own end.
            told_s: seconds to end after SIGTERM; then SIGKILL.
        """
        ends = self._ends_alone()
        processes = reversed(self._processes.values())
        end_all(processes, alone_s=alone_s if ends else 0.0, told_s=told_s)
        if self._link:
            self._link.close()
            self._link = None
        if COORDINATOR in self._processes and self._processes[COORDINATOR].exit_code:
            self._end_orphaned_store()

    def _ends_alone(self) -> bool:
        """Ask for the run's end where it has not come; return whether everybody will hear of it."""
        coordinator = self._processes.get(COORDINATOR)
        if not coordinator or coordinator.exit_code is not None:
            return coordinator is not None and coordinator.exit_code == Exit.OVER
        try:
            if not self.status():
                return False
            assert self._link
            self._link.stop(within_s=_TOLD_S)
        except NotRecordedError:
            return True  # asked for; an open round may take longer
        except CrosscloudError:
            return False
        return True

    def _end_orphaned_store(self) -> None:
        """A killed coordinator leaves its embedded server to the next one: adopt it and end it."""
        from services.coordinator.live.embedded_valkey import EmbeddedValkey

        for lock in self.layout.state(COORDINATOR).glob("**/server.lock"):
            EmbeddedValkey(lock.parent).close()

    def _launch(self, name: str) -> None:
        command = self._commands.get(name, "worker")
        process = self._start(name, (command, "--config", str(self.layout.config(name))))
        self._processes[name] = process

    def _start(self, name: str, arguments: tuple[str, ...]) -> LocalProcess:
        command = own_command("crosscloud", *arguments)
        environment = {**_SAME_CORES, **own_path()}
        return LocalProcess(name, command, self.layout.log(name), environment)
