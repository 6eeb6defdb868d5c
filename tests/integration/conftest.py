"""A real coordinator process on loopback, without workers: tests play them."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import yaml
from redis import Redis

from commands.demo.layout import COORDINATOR, OPERATOR, FederationSpec, Layout, WorkerSpec
from commands.demo.processes import LocalProcess
from common.documents import Genesis, Plan, Record, SideValues
from common.shards import pack_side_values
from services.config.genesis_file import load_genesis
from services.config.settings import load_operator
from services.trust.identity import Role
from services.wire.credentials import channel_credentials
from services.wire.operator_link import OperatorLink, RunStatus, UnreachableError
from tests.rig.stores.redis_servers import follow, tcp_server
from tests.rig.workers.light_worker import LightWorker, credentials

ROOT = Path(__file__).parents[2]
AFAR = "coordinator.invalid"
"""A name of the coordinator that only a proxy knows."""

NAMES = ("aws", "azure", "gcp", "onprem")
RUN: dict[str, Any] = {
    "learner": "examples.own_learner:build",
    "settings": {"width": 8},
    "preset": "async_diloco",
    "algorithm": {"tier": "tls", "min_cohort": 1},
    "stop": {"versions": 1000},
}
TIMINGS = {
    "heartbeat_s": 0.5,
    "worker_lease_s": 90.0,
    "leader_lease_s": 10.0,
    "key_timeout_s": 60.0,
    "upload_timeout_s": 60.0,
    "first_grace_s": 0.2,
}


@dataclass
class LoneCoordinator:
    """See the module docstring."""

    layout: Layout
    process: LocalProcess | None = None
    max_files: int | None = None

    @property
    def genesis(self) -> Genesis:
        return load_genesis(self.layout.genesis)

    @property
    def folder(self) -> Path:
        return self.layout.folder

    def command(self, *arguments: object, environ: Mapping[str, str] | None = None) -> LocalProcess:
        name = str(arguments[0])
        command = (sys.executable, "-m", "crosscloud", *map(str, arguments))
        if self.max_files is not None:
            command = ("sh", "-c", f'ulimit -n {self.max_files} && exec "$@"', "sh", *command)
        log = self.layout.log(name)
        return LocalProcess(name, command, log, {"PYTHONPATH": str(ROOT), **(environ or {})})

    def start(self, *, wait: bool = True, environ: Mapping[str, str] | None = None) -> None:
        config = self.layout.config(COORDINATOR)
        self.process = self.command(COORDINATOR, "--config", config, environ=environ)
        deadline_s = time.monotonic() + 90
        while wait and self.status() is None:
            assert self.process.exit_code is None, self.process.last_lines()
            assert time.monotonic() < deadline_s, self.process.last_lines()
            time.sleep(0.05)

    def status(self) -> RunStatus | None:
        settings = load_operator(self.layout.config(OPERATOR), environ={})
        creds = channel_credentials(settings.tls, settings.run, Role.OPERATOR)
        with OperatorLink(settings.coordinator, creds, timeout_s=3.0) as link:
            try:
                return link.status()
            except UnreachableError:
                return None

    def edit(self, name: str, **changes: Any) -> None:
        """Change top-level fields of one process's settings file."""
        path = self.layout.config(name)
        settings = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**settings, **changes}))

    def worker(self, name: str, *, bulk: str = "", **changes: Any) -> LightWorker:
        return LightWorker(
            name,
            self.genesis,
            self.layout.control,
            bulk or self.layout.bulk,
            credentials(self.folder / "certs", name),
            **changes,
        )

    def stop(self) -> None:
        if self.process is not None and self.process.exit_code is None:
            self.process.terminate()
            if not self.process.wait(15):
                self.process.kill()
                pytest.fail(f"the coordinator did not end: {self.process.last_lines()}")


Make = Callable[..., LoneCoordinator]


def lay_out(folder: Path, names: tuple[str, ...] = NAMES, **run: Any) -> LoneCoordinator:
    """Write a federation's folder and make its genesis."""
    text = {"a.txt": "to be or not to be, that is the question. " * 200}
    workers = tuple(WorkerSpec(n, text) for n in names)
    spec = FederationSpec(
        folder, "test", workers, text, {**RUN, **run}, timings=TIMINGS, hosts=("127.0.0.1", AFAR)
    )
    made = LoneCoordinator(Layout(spec))
    made.layout.write()
    made.edit(COORDINATOR, drain_s=1.0)
    _give_genesis(made)
    return made


_GENESES: dict[str, TemporaryDirectory[str]] = {}


def _give_genesis(made: LoneCoordinator) -> None:
    """Make the run's genesis, once per run.yaml: the same file always gives the same one."""
    run = made.layout.config("run")
    if (kept := _GENESES.get(run.read_text())) is None:
        kept = TemporaryDirectory()
        genesis = made.command("genesis", "--config", run, "--out", f"{kept.name}/genesis")
        assert genesis.wait(90), "no genesis in 90 s"
        assert genesis.exit_code == 0, genesis.last_lines()
        _GENESES[run.read_text()] = kept
    shutil.copytree(Path(kept.name, "genesis"), made.layout.genesis.parent)


@pytest.fixture
def make_coordinator(tmp_path: Path) -> Iterator[Make]:
    """Return a function that starts a coordinator for a new run, and stops it after the test."""
    with ExitStack() as stack:

        def make(*, start: bool = True, **run: Any) -> LoneCoordinator:
            made = lay_out(tmp_path / f"run{len(os.listdir(tmp_path))}", **run)
            stack.callback(made.stop)
            if start:
                made.start()
            return made

        yield make


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Redis]:
    with tcp_server(tmp_path / "primary") as server:
        yield server


@pytest.fixture
def replica(tmp_path: Path, primary: Redis) -> Iterator[Redis]:
    with tcp_server(tmp_path / "replica") as server:
        follow(server, primary)
        yield server


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneCoordinator]:
    """One coordinator for a module's tests, which must leave no round open."""
    made = lay_out(tmp_path_factory.mktemp("federation") / "run")
    made.start()
    yield made
    made.stop()


def good_shards(worker: LightWorker, plan: Plan) -> list[tuple[bytes, int, bytes]]:
    """Return the payload of an update of zeros."""
    layout = worker.layout(plan)
    side = pack_side_values(SideValues(65535, 0, 0), np.zeros(layout.num_blocks, np.uint32))
    payload = bytes(layout.side_offset) + side
    raw_id = bytes.fromhex(plan.round)
    spans = [layout.shard(i) for i in range(layout.num_shards)]
    return [(raw_id, i, payload[a : a + n]) for i, (a, n) in enumerate(spans)]


def commit_round(worker: LightWorker, plan: Plan | None = None) -> Record:
    plan = plan or worker.receive_plan()
    worker.answer(plan)
    worker.receive("members")
    assert not worker.push(*good_shards(worker, plan)).missing
    commit = worker.receive_record("commit")
    assert commit.version == plan.version + 1
    return commit
