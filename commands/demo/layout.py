"""Lays a local federation out: where its files lie, and what its processes are told.

    <folder>/run.yaml                      what the run is; genesis/ is made from it
             coordinator.yaml ...          one settings file per process, one for the operator
             certs/  text/<worker>/  text/validation/
             coordinator/  workers/<name>/  evaluator/    what the processes keep
             logs/<process>.log
             model/  result.json  metrics.jsonl           what is left at the end, with
             genesis.json  report.html

It refuses a folder that is not empty.
"""

import secrets
import socket
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from common.errors import ConfigError
from services.config import yaml_file
from services.config.addresses import joined, parsed
from services.config.settings import load_run
from services.coordinator.kept.files import CoordinatorFiles
from services.disk.files import make_private_folder
from services.trust.authority import MEMBERS, NOT_FOR_HOLDERS, Holder, init_federation
from services.trust.identity import Role
from services.trust.pins import PINS, pin_workers
from worker.training.demo_text import write_texts

HOST: Final = "127.0.0.1"
ports = range(20_000, 32_000)
"""Ports below those that Linux gives to outgoing connections. Who runs beside others of its kind
sets a part of them, so that none finds a port free which another is about to listen on."""
COORDINATOR: Final = "coordinator"
EVALUATOR: Final = "evaluator"
OPERATOR: Final = "operator"
_OWN_NAMES: Final = frozenset(
    {COORDINATOR, EVALUATOR, OPERATOR, "run", "genesis", "validation", *NOT_FOR_HOLDERS}
)
"""Their settings, logs and texts lie beside the workers'."""

HEADER: Final = "# Written for a federation on one machine.\n"

Texts = Mapping[str, str]
"""Path of a text, relative -> its content."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One cloud.

    Args:
        texts: its own training text.
        slowdown: every step takes so many times as long.
        max_steps_per_s: local steps per second at most; 0 = no limit.
        organisation: that it is of; "" = one of its own.
    """

    name: str
    texts: Texts
    slowdown: float = 1.0
    max_steps_per_s: float = 0.0
    organisation: str = ""


@dataclass(frozen=True, slots=True)
class FederationSpec:
    """What to set up.

    Args:
        folder: gets everything; missing or empty.
        name: of the run.
        workers: at least one.
        validation: the shared validation text.
        run: run.yaml but for the name: learner, settings, seed, preset, algorithm, stop.
        data: more of the learner's data settings, for every process.
        timings: the coordinator's, in seconds; what is left out is its default.
        hosts: under which the coordinator may be dialled.
    """

    folder: Path
    name: str
    workers: tuple[WorkerSpec, ...]
    validation: Texts
    run: Mapping[str, Any]
    data: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    hosts: tuple[str, ...] = (HOST,)


class Layout:
    """Paths and ports of one federation.

    Args:
        spec: what to set up; `folder` may be relative.
    """

    def __init__(self, spec: FederationSpec) -> None:
        self._spec = spec
        self.folder = spec.folder.resolve()
        names = (EVALUATOR, *(w.name for w in spec.workers))
        control, bulk, *metrics = free_ports(3 + len(names))
        self.control = joined(HOST, control)
        self.bulk = joined(HOST, bulk)
        self.metrics_ports = dict(zip((COORDINATOR, *names), metrics, strict=True))

    @property
    def genesis(self) -> Path:
        """The document that every process pins."""
        return self.folder / "genesis" / "genesis.json"

    def config(self, name: str) -> Path:
        """Return the settings file of a process: "run", "coordinator", a worker's name, ..."""
        return self.folder / f"{name}.yaml"

    def log(self, name: str) -> Path:
        """Return the file that takes a process' output."""
        return self.folder / "logs" / f"{name}.log"

    def state(self, name: str) -> Path:
        """Return the folder in which a process keeps its state."""
        inside = self.folder if name in (COORDINATOR, EVALUATOR) else self.folder / "workers"
        return inside / name

    @property
    def coordinator(self) -> CoordinatorFiles:
        """What the coordinator keeps."""
        return CoordinatorFiles(self.state(COORDINATOR))

    def write(self) -> None:
        """Write texts, certificates and settings.

        Raises:
            ConfigError: the folder holds something, or a name is not well-formed.
        """
        if taken := _OWN_NAMES & {w.name for w in self._spec.workers}:
            raise ConfigError(
                f"worker {min(taken)!r}: the federation's own files have that name; choose another"
            )
        if self.folder.exists() and any(self.folder.iterdir()):
            raise ConfigError(f"{self.folder} is not empty: choose another name or folder")
        make_private_folder(self.folder)
        (self.folder / "logs").mkdir()
        for worker in self._spec.workers:
            write_texts(worker.texts, self._text(worker.name))
        write_texts(self._spec.validation, self._text("validation"))
        certs = self.folder / "certs"
        init_federation(certs, self._spec.name, self._holders(), valid_days=7)
        pin_workers(certs / PINS, [certs / f"{w.name}.pem" for w in self._spec.workers])
        self._write("run", {"name": self._spec.name, **self._spec.run})
        for name, settings in self._settings().items():
            self._write(name, settings)

    def _write(self, name: str, settings: Mapping[str, Any]) -> None:
        content = yaml_file.dump(dict(settings))
        self.config(name).write_text(HEADER + content, encoding="utf-8")

    def _text(self, name: str) -> Path:
        return self.folder / "text" / name

    def _beside(self, path: Path) -> str:
        """Return a path as the settings, which lie in the folder itself, name it."""
        return str(path.relative_to(self.folder))

    def _holders(self) -> list[Holder]:
        return [
            Holder(Role.COORDINATOR, COORDINATOR, "local", self._spec.hosts),
            Holder(Role.EVALUATOR, EVALUATOR, "local"),
            Holder(Role.OPERATOR, OPERATOR, "local"),
            *(Holder(Role.WORKER, w.name, w.organisation or w.name) for w in self._spec.workers),
        ]

    def _settings(self) -> dict[str, dict[str, Any]]:
        operator = {"run": self._spec.name, "coordinator": self.control, "tls": self._tls(OPERATOR)}
        return {
            COORDINATOR: self._coordinator(),
            EVALUATOR: self._member(EVALUATOR),
            OPERATOR: operator,
            **{w.name: self._worker(w) for w in self._spec.workers},
        }

    def _coordinator(self) -> dict[str, Any]:
        control, bulk = (parsed(a).port for a in (self.control, self.bulk))
        return {
            "genesis": str(self.genesis),
            "data_dir": str(self.state(COORDINATOR)),
            "members": str(self.folder / "certs" / MEMBERS),
            "tls": self._tls(COORDINATOR),
            "host": HOST,
            "control_port": control,
            "bulk_port": bulk,
            "metrics": self._metrics(COORDINATOR),
            "timings": dict(self._spec.timings),
        }

    def _worker(self, worker: WorkerSpec) -> dict[str, Any]:
        settings = self._member(worker.name)
        settings["data"]["train"] = [self._beside(self._text(worker.name))]
        pace = {"slowdown": worker.slowdown, "max_steps_per_s": worker.max_steps_per_s}
        return {**settings, "pace": pace, "trust": self._trust()}

    def _trust(self) -> dict[str, Any]:
        """Return what every worker here insists on: what the run is, and the keys made here."""
        a = load_run(self.config("run")).algorithm
        trust = {"tier": a.tier, "max_share": a.max_share, "max_staleness": a.max_staleness}
        if not a.masked:
            return trust
        return {**trust, "min_cohort": a.min_cohort, "pins": str(self.folder / "certs" / PINS)}

    def _member(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "genesis": str(self.genesis),
            "coordinator": {"control": self.control, "bulk": self.bulk},
            "tls": self._tls(name),
            "state_dir": str(self.state(name)),
            "data": {"validation": [self._beside(self._text("validation"))], **self._spec.data},
            "metrics": self._metrics(name),
        }

    def _tls(self, name: str) -> dict[str, str]:
        certs = self.folder / "certs"
        return {
            "ca": str(certs / "ca.pem"),
            "certificate": str(certs / f"{name}.pem"),
            "key": str(certs / f"{name}.key"),
        }

    def _metrics(self, name: str) -> dict[str, Any]:
        return {"host": HOST, "port": self.metrics_ports[name]}


def free_ports(num_ports: int) -> list[int]:
    """Return ports that nobody listens on now, and that no outgoing connection will be given.

    So a process that ended finds its port again. Another program could still listen there first.
    """
    found: list[int] = []
    with ExitStack() as stack:
        while len(found) < num_ports:
            port = secrets.choice(ports)
            with suppress(OSError):
                stack.enter_context(socket.create_server((HOST, port)))
                found.append(port)
    return found
