"""Faults on a running federation, and the supervisor that starts again what they ended.

    each turn: restart what ended - end what is over - look at the status - perhaps one more fault

Like a container runtime, it ends what an ended process left behind before it starts it again; a
Valkey server alone is left to be adopted. Nothing else is repaired: the system has to do that.
"""

import contextlib
import os
import random
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, Self

import yaml
from redis import Redis
from redis.exceptions import RedisError

from commands.demo.federation import Federation
from commands.demo.layout import COORDINATOR, EVALUATOR, OPERATOR, FederationSpec, WorkerSpec
from commands.demo.processes import LocalProcess
from common.errors import CrosscloudError
from common.ids import Digest
from services.config.settings import load_operator
from services.coordinator.live.embedded_valkey import short_socket
from services.process.exit_status import Exit
from services.trust.identity import Role
from services.wire.credentials import channel_credentials
from services.wire.operator_link import OperatorLink, RunStatus
from tests.rig.chaos.faults import ALONE, Fault, Kinds, cells, draw
from tests.rig.chaos.processes import MARK, Found, running
from tests.rig.chaos.witness import Witness
from tests.rig.links.line import Line

NAMES: Final = ("aws", "azure", "gcp")
SIZE: Final = 2**18  # values: two shards, and a commit that takes a moment
COUNTABLE: Final[dict[str, Any]] = {
    "normalisation": "uniform",
    "staleness": "constant",
    "max_staleness": 1e6,
    "max_share": 0.999,
    "clipping": False,
    "outer": {"kind": "sgd", "learning_rate": 1.0, "momentum": 0.0},
    "schedule": {"peak": 1.0, "warmup_steps": 0, "floor": 1.0},
}
"""An algorithm that scales nobody's work."""
KEEP_ALL: Final = 1_000_000
"""`snapshot_every` that lets the whole log be replayed."""

_PATIENCE_S: Final = 240.0
_FAULT_S: Final = (0.2, 4.0)  # longer than the leases, now and then
_LEASE_S: Final = 3.0
_QUIET_S: Final = 0.25  # between two faults
_CHANCE: Final = 0.6  # of a fault at a change of phase: later phases have to be reached
_VERSIONS_AFTER: Final = 5


def spec(folder: Path) -> FederationSpec:
    """Return a federation whose work can be counted, exactly even in its aggregates."""
    run = {
        "learner": "tests.rig.chaos.learner:build",
        "settings": {"workers": list(NAMES), "size": SIZE},
        "preset": "async_diloco",
        "algorithm": {
            **COUNTABLE,
            "tier": "tls",
            "min_cohort": 1,
            "local_steps": 10,
            "quorum": 0.6,
            "codec": {"kind": "float32", "bits": 32, "first_bits": 32, "residual_decay": 1.0},
        },
        "stop": {"versions": 1_000_000},
    }
    timings = {
        "heartbeat_s": 0.3,
        "worker_lease_s": _LEASE_S,
        "leader_lease_s": _LEASE_S,
        "key_timeout_s": 3.0,
        "upload_timeout_s": 4.0,
        "first_grace_s": 0.3,
    }
    workers = tuple(WorkerSpec(n, {"none.txt": ""}, max_steps_per_s=50) for n in NAMES)
    data = {"journals": str(folder.resolve() / "journals")}
    return FederationSpec(folder, "chaos", workers, {"none.txt": ""}, run, data, timings)


class CutLine(Protocol):
    """What stands between a worker and a port: a method for each kind of fault, and `heal`."""

    @property
    def address(self) -> str:
        """HOST:PORT to dial instead of the port."""

    def cut(self) -> None:
        """End every connection."""

    def stall(self) -> None:
        """Carry nothing."""

    def heal(self) -> None:
        """Carry everything again."""


class Chaos:
    """A federation under faults. A context manager.

    Args:
        folder: gets everything; missing or empty.
        seed: of everything that is drawn.
        num_faults: to carry out; None: `times` in every cell of the table.
    """

    def __init__(
        self, folder: Path, seed: int, num_faults: int | None = None, *, times: int = 1
    ) -> None:
        self.kinds = self.rows()
        self.federation = Federation(spec(folder))
        self.folder = self.federation.layout.folder
        self.witness = Witness(self.federation.layout, NAMES)
        self.carried_out: Counter[Fault] = Counter()
        self.recoveries_s: list[float] = []
        """From each end of the coordinator to the first message that the next one accepted."""
        self.num_restarts = 0
        count = times * len(cells(self.kinds)) if num_faults is None else num_faults
        self._planned = draw(self.kinds, count, seed)
        self._random = random.Random(seed + 1)
        self._lines: dict[str, tuple[CutLine, CutLine]] = {}
        self._undo: dict[tuple[str, str], tuple[float, Callable[[], None]]] = {}
        self._ended_s: float | None = None
        self._faulted_s = 0.0
        self._moment: tuple[int, int, str] = (0, 0, "")
        self._link: OperatorLink | None = None
        self._told: Callable[[int], None]
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        os.environ[MARK] = str(self.folder)
        with self._stack:
            self._stack.callback(os.environ.pop, MARK)
            self.federation.prepare()
            (self.folder / "journals").mkdir()
            self._configure()
            self._stack.callback(self._end)
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def rows(self) -> Kinds:
        """Return the rows of the table of faults."""
        return ALONE

    @property
    def supervised(self) -> tuple[str, ...]:
        """The processes that are started again when they end."""
        return (COORDINATOR, EVALUATOR, *NAMES)

    def run(self, told: Callable[[int], None] = lambda _: None) -> None:
        """Carry out every fault; `told` hears how many those are so far."""
        self._told = told
        self._turns(lambda _: not self._planned and not self._undo, self._perhaps_a_fault)

    def settle(self) -> int:
        """Let everybody contribute again and stand on the head; return its version.

        Raises:
            AssertionError: that does not come to pass in time.
        """
        before = self._turns(lambda _: True)
        target = before.version + _VERSIONS_AFTER
        had = {name: w.contributions for name, w in before.counters.workers.items()}

        def all_contributed(now: RunStatus) -> bool:
            have = now.counters.workers
            return now.version >= target and all(
                name in have and have[name].contributions > had.get(name, 0) for name in NAMES
            )

        self._turns(all_contributed)
        assert self._link is not None
        self._link.pause()
        settled = self._turns(
            lambda s: s.phase == "collecting_offers" and self.witness.all_stand_on(Digest(s.digest))
        )
        return settled.version

    def end(self) -> None:
        """Let the run end by itself; every process has to, with success."""
        self.federation.stop(alone_s=40.0)
        for name in self.supervised:
            process = self.federation.process(name)
            assert (process.exit_code, process.ended_by_us) == (Exit.OVER, False), (
                process.last_lines()
            )
        orphans = self._orphans()
        assert not orphans, f"left behind: {orphans}"

    def _orphans(self) -> list[Found]:
        return list(running(self.folder))

    @property
    def recovery_s(self) -> float:
        """Median of `recoveries_s`."""
        return statistics.median(self.recoveries_s)

    # One turn after another

    def _turns(
        self,
        until: Callable[[RunStatus], bool],
        also: Callable[[RunStatus], None] = lambda _: None,
    ) -> RunStatus:
        """Supervise until a status fulfils `until`; as long as faults are carried out, go on."""
        while True:
            since_s = time.monotonic()
            num_carried_out = self.carried_out.total()
            while self.carried_out.total() == num_carried_out:
                self._supervise()
                if (status := self._status()) is not None:
                    if until(status):
                        return status
                    also(status)
                assert time.monotonic() < since_s + _PATIENCE_S, (
                    f"it hangs: {status}; not carried out yet: {self._planned}"
                )
                time.sleep(0.005)

    def _supervise(self) -> None:
        now_s = time.monotonic()
        for key, (until_s, undo) in list(self._undo.items()):
            if until_s < now_s:
                del self._undo[key]
                undo()
        for name in self.supervised:
            process = self.federation.process(name)
            if process.exit_code is None:
                continue
            if process.pid == self._leader():
                self._ended_s = time.monotonic()
            self._check_end(name, process)
            self._end_children(name)
            self.witness.restarts(name)
            self.num_restarts += 1
            self.federation.restart(name)

    def _leader(self) -> int:
        """Return the process id of the coordinator that leads, or led last."""
        return self.federation.process(COORDINATOR).pid

    def _check_end(self, name: str, process: LocalProcess) -> None:
        assert process.exit_code in (Exit.FAILED, -signal.SIGKILL), (
            f"{name}: {process.last_lines()}"
        )

    def _end_children(self, name: str) -> None:
        """End what a process left behind, paused or not."""
        roles = ("trainer",) if name in NAMES else ("bulk", "commit")
        others = {self.federation.process(n).pid for n in self.supervised if n != name}
        deadline_s = time.monotonic() + 10
        while left := [
            f for f in running(self.folder) if f.role in roles and f.parent not in others
        ]:
            assert time.monotonic() < deadline_s, left
            for child in left:
                child.signal(signal.SIGKILL)
            time.sleep(0.01)

    def _status(self) -> RunStatus | None:
        if self._link is None:
            settings = load_operator(self.federation.config(OPERATOR), environ={})
            credentials = channel_credentials(settings.tls, settings.run, Role.OPERATOR)
            self._link = OperatorLink(settings.coordinator, credentials, timeout_s=1.0)
        try:
            status = self._link.status()
        except CrosscloudError:  # a new channel has no pause behind it
            self._link.close()
            self._link = None
            return None
        if self._ended_s is not None and status.workers:
            self.recoveries_s.append(time.monotonic() - self._ended_s)
            self._ended_s = None
        return status

    # Faults

    def _perhaps_a_fault(self, status: RunStatus) -> None:
        moment = (self._leader(), status.num_records, status.phase)
        now_s = time.monotonic()
        if moment == self._moment or now_s < self._faulted_s + _QUIET_S:
            return
        self._moment = moment
        if self._random.random() > _CHANCE:
            return
        for fault in self._planned:
            if fault.phase == status.phase and self._carry_out(fault):
                self._planned.remove(fault)
                self.carried_out[fault] += 1
                self._faulted_s = time.monotonic()
                self._told(self.carried_out.total())
                return

    def _carry_out(self, fault: Fault) -> bool:
        """Return whether it could be: its target lives and suffers nothing yet."""
        until_s = time.monotonic() + self._random.uniform(*_FAULT_S)
        if fault.target == "network":
            name = self._random.choice(NAMES)
            key = (fault.target, name)
            if key in self._undo:
                return False
            lines = self._lines[name]
            for line in lines:
                getattr(line, fault.kind)()
            self._undo[key] = (until_s, partial(_heal, lines))
            return True
        found = self._targets(fault.target)
        if not found:
            return False
        target = self._random.choice(sorted(found, key=lambda f: f.pid))
        key = (fault.target, str(target.pid))
        if key in self._undo:
            return False
        match fault.kind:
            case "kill":
                target.signal(signal.SIGKILL)
            case "pause":
                target.signal(signal.SIGSTOP)
                self._undo[key] = (until_s, partial(target.signal, signal.SIGCONT))
            case "flush":
                return self._flush()
        return True

    def _targets(self, target: str) -> list[Found]:
        return [f for f in running(self.folder) if f.role == target]

    def _flush(self) -> bool:
        try:
            with (
                self._store_socket() as path,
                Redis(unix_socket_path=str(path), socket_timeout=1.0) as client,
            ):
                return bool(client.flushall())
        except RedisError:
            return False  # it is starting

    def _store_socket(self) -> AbstractContextManager[Path]:
        return short_socket(self.federation.layout.coordinator.valkey)

    # Setting up and ending

    def _start(self) -> None:
        self.federation.start()

    def _configure(self) -> None:
        """Keep every aggregate, so that the log can be replayed; put a line before each port."""
        with edited(self.federation.config(COORDINATOR)) as settings:
            settings["snapshot_every"] = KEEP_ALL
        for name in NAMES:
            lines = self._lines[name] = (self._line("control"), self._line("bulk"))
            control, bulk = (line.address for line in lines)
            with edited(self.federation.config(name)) as settings:
                settings["coordinator"] = {"control": control, "bulk": bulk}

    def _line(self, port: str) -> CutLine:
        """Return a line to the "control" or the "bulk" port."""
        return self._stack.enter_context(Line(getattr(self.federation.layout, port)))

    def _end(self) -> None:
        if self._link is not None:
            self._link.close()
        for _, undo in self._undo.values():
            undo()
        self.federation.stop(alone_s=1.0, told_s=5.0)
        for found in running(self.folder):
            found.signal(signal.SIGKILL)


def _heal(lines: tuple[CutLine, CutLine]) -> None:
    for line in lines:
        line.heal()


@contextlib.contextmanager
def edited(path: Path) -> Iterator[dict[str, Any]]:
    """Change a settings file."""
    settings = yaml.safe_load(path.read_text())
    yield settings
    path.write_text(yaml.safe_dump(settings))
