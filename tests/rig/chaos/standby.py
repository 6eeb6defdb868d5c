"""The same federation with two coordinators, one of which waits, and a server of somebody else's.

    worker --toxiproxy or our own proxy--> line --the one that leads--> coordinator | standby
                                                                             |         |
                                                                             +- Valkey +

Both coordinators share the data folder, as one disk that moves with the lease. A line leads new
connections to whoever wrote the newest takeover record, as a balancer that asks for health would.
The server is the embedded one's program, started by us with other settings: it persists once a
second, so that it comes back up to a second in the past when it is killed.
"""

import signal
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

from typing_extensions import override

from commands.demo.layout import COORDINATOR, EVALUATOR, OPERATOR, free_ports
from commands.demo.processes import LocalProcess
from common import canonical
from common.documents import Record
from services.coordinator.kept.log_store import record_path
from services.coordinator.live.embedded_valkey import server_program
from services.process.exit_status import Exit
from tests.rig.chaos.faults import Kinds
from tests.rig.chaos.harness import KEEP_ALL, NAMES, Chaos, CutLine, edited
from tests.rig.chaos.processes import Found, running
from tests.rig.links import toxiproxy
from tests.rig.links.line import Line
from tests.rig.links.toxiproxy import Toxiproxy
from tests.rig.programs import find

STANDBY: Final = "standby"
STORE: Final = "valkey"
_HOST: Final = "127.0.0.1"
_NO_STORE: Final = Exit.SETTINGS
"""Exit status of a coordinator that is started while the store does not answer."""


class StandbyChaos(Chaos):
    """See the module docstring; with toxiproxy, connections are also reset."""

    def __init__(
        self, folder: Path, seed: int, num_faults: int | None = None, *, times: int = 1
    ) -> None:
        self._is_toxic = find("toxiproxy-server") is not None
        super().__init__(folder, seed, num_faults, times=times)
        self._store: LocalProcess
        self._socket: Path
        self._toxiproxy: Toxiproxy
        self._routes: list[tuple[Line, str]] = []
        self._led_by = COORDINATOR
        self._led_by_pid = 0
        self._num_records = 0
        self._ports: dict[str, dict[str, str]] = {}
        """Process -> "control" and "bulk" -> HOST:PORT."""
        self.num_takeovers = 0

    @override
    def rows(self) -> Kinds:
        return {
            "leader": ("kill", "pause"),
            "standby": ("kill", "pause"),
            "bulk": ("kill",),
            STORE: ("kill", "pause", "flush"),
            "network": ("cut", "stall", *(["reset"] if self._is_toxic else [])),
        }

    @property
    @override
    def supervised(self) -> tuple[str, ...]:
        return (COORDINATOR, STANDBY, EVALUATOR, *NAMES)

    @override
    def end(self) -> None:
        super().end()
        assert self._store.exit_code is None, self._store.last_lines()
        self._store.terminate()
        assert self._store.wait(10), "the store does not end"

    @override
    def _orphans(self) -> list[Found]:
        return [f for f in super()._orphans() if f.role not in (STORE, "toxiproxy")]

    # Setting up

    @override
    def _start(self) -> None:
        self._store = self._started_store()
        super()._start()
        self.federation.start_standby(STANDBY)

    def _started_store(self) -> LocalProcess:
        folder = self.folder / STORE
        folder.mkdir(exist_ok=True)
        config = folder / "valkey.conf"
        config.write_text(
            f"port 0\nunixsocket {self._socket}\ndir {folder}\n"
            'save ""\nappendonly yes\nappendfsync everysec\n'
        )
        log = self.federation.layout.log(STORE)
        return LocalProcess(STORE, (server_program(), str(config)), log, {})

    @override
    def _configure(self) -> None:
        names = (COORDINATOR, STANDBY)
        ports = free_ports(3 * len(names))
        short = self._stack.enter_context(tempfile.TemporaryDirectory())
        self._socket = Path(short) / "s"  # the system limits a socket's path
        for i, name in enumerate(names):
            control, bulk, metrics = ports[3 * i : 3 * i + 3]
            self._ports[name] = {"control": f"{_HOST}:{control}", "bulk": f"{_HOST}:{bulk}"}
            self.federation.config(name).write_text(self.federation.config(COORDINATOR).read_text())
            with edited(self.federation.config(name)) as settings:
                settings |= {"control_port": control, "bulk_port": bulk}
                settings["metrics"]["port"] = metrics
                settings["redis_url"] = f"unix://{self._socket}"
                settings["snapshot_every"] = KEEP_ALL
        if self._is_toxic:
            self._toxiproxy = self._stack.enter_context(toxiproxy.toxiproxy())
        super()._configure()
        control_line, bulk_line = (self._routed(port) for port in ("control", "bulk"))
        with edited(self.federation.config(EVALUATOR)) as settings:
            settings["coordinator"] = {"control": control_line.address, "bulk": bulk_line.address}
        with edited(self.federation.config(OPERATOR)) as settings:
            settings["coordinator"] = control_line.address

    @override
    def _line(self, port: str) -> CutLine:
        line = self._routed(port)
        return self._toxiproxy.line(line.address) if self._is_toxic else line

    def _routed(self, port: str) -> Line:
        line = self._stack.enter_context(Line(self._ports[COORDINATOR][port]))
        self._routes.append((line, port))
        return line

    # Who leads

    @override
    def _supervise(self) -> None:
        if self._store.exit_code is not None:
            assert self._store.exit_code == -signal.SIGKILL, self._store.last_lines()
            self.num_restarts += 1
            self._store = self._started_store()
        self._follow_log()
        super()._supervise()

    @override
    def _check_end(self, name: str, process: LocalProcess) -> None:
        if name not in (COORDINATOR, STANDBY) or process.exit_code != _NO_STORE:
            super()._check_end(name, process)

    @override
    def _leader(self) -> int:
        return self._led_by_pid

    def _follow_log(self) -> None:
        """Read what is new in the log; a takeover leads every line to its writer."""
        folder = self.federation.layout.coordinator.log
        while (path := record_path(folder, self._num_records)).exists():
            record = canonical.decode(path.read_bytes(), Record)
            self._num_records += 1
            if record.takeover is not None:
                self._taken_over(int(record.takeover.leader.rpartition("-")[2]))

    def _taken_over(self, pid: int) -> None:
        for name in (COORDINATOR, STANDBY):
            if self.federation.process(name).pid == pid:
                self.num_takeovers += name != self._led_by
                self._led_by = name
        self._led_by_pid = pid
        for line, port in self._routes:
            line.target = self._ports[self._led_by][port]

    # Faults

    @override
    def _targets(self, target: str) -> list[Found]:
        found = list(running(self.folder))
        coordinators = [f for f in found if f.role == "control"]
        match target:
            case "leader":
                return [f for f in coordinators if f.pid == self._led_by_pid]
            case "standby":
                return [f for f in coordinators if f.pid != self._led_by_pid]
            case _:
                return [f for f in found if f.role == target]

    @override
    def _store_socket(self) -> AbstractContextManager[Path]:
        return nullcontext(self._socket)
