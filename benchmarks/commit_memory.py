"""What one round costs a real coordinator: its processes' memory, and the seconds of its commit."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from benchmarks.made_up_payload import contribute
from commands.demo.layout import COORDINATOR, HOST, FederationSpec, Layout, WorkerSpec
from commands.demo.processes import LocalProcess, ProcessFailedError
from common.documents import Genesis
from services.config.genesis_file import load_genesis
from services.config.settings import load_worker
from services.process.own_modules import own_command, own_path
from services.trust.identity import Role
from services.wire.credentials import channel_credentials
from tests.rig.workers.light_worker import LightWorker

WORKERS: Final = ("aws", "azure", "gcp")
_INSIDE: Final = Path(__file__).parent / "inside"
_PATIENCE: Final = {"worker_lease_s": 3600.0, "upload_timeout_s": 3600.0}


@dataclass(frozen=True, slots=True)
class CommitCost:
    """Of one round.

    Args:
        peak_mib: summed peaks of the coordinator's processes and Valkey, above idle.
        commit_s: from the last worker's last byte to the commit record.
        commit_cpu_s: of all processes in that time.
        gigabytes: of float32 that the model has.
    """

    peak_mib: float
    commit_s: float
    commit_cpu_s: float
    gigabytes: float


class BenchFederation:
    """Certificates, settings and genesis of a run whose model has `num_values` zeros.

    Args:
        algorithm: what differs from synchronous rounds of everybody.
        timings: of the coordinator.
    """

    def __init__(
        self,
        folder: Path,
        num_values: int,
        codec: str,
        *,
        workers: Sequence[str] = WORKERS,
        algorithm: Mapping[str, Any] | None = None,
        timings: Mapping[str, float] = _PATIENCE,
    ) -> None:
        bits = 8 if codec == "dense" else 32
        run: dict[str, Any] = {
            "learner": "benchmarks.zeros:build",
            "settings": {"values": num_values},
            "algorithm": {
                "tier": "tls",  # that of the workers who take part
                "policy": "sync",
                "min_cohort": len(workers),
                "codec": {"kind": codec, "bits": bits, "first_bits": bits},
                **(algorithm or {}),
            },
            "stop": {"versions": 1_000_000},
        }
        specs = tuple(WorkerSpec(n, {}) for n in workers)
        self.layout = Layout(FederationSpec(folder, "bench", specs, {}, run, timings=timings))
        self._first = workers[0]
        self.layout.write()
        config, out = self.layout.config("run"), self.layout.genesis.parent
        genesis = self._command("genesis", "--config", config, "--out", out)
        if not genesis.wait(300) or genesis.exit_code:
            raise ProcessFailedError(genesis)

    @property
    def genesis(self) -> Genesis:
        """The run's."""
        return load_genesis(self.layout.genesis)

    @property
    def config(self) -> Path:
        """coordinator.yaml."""
        return self.layout.config(COORDINATOR)

    @property
    def certs(self) -> Path:
        """Folder of certificates."""
        return self.layout.folder / "certs"

    def credentials(self, name: str) -> grpc.ChannelCredentials:
        """Return a worker's credentials."""
        tls = load_worker(self.layout.config(name), environ={}).tls
        return channel_credentials(tls, "bench", Role.WORKER, name)

    def round_cost(self) -> CommitCost:
        """Run one round of all workers on a fresh coordinator, and return what it cost."""
        with self.coordinator() as process, ExitStack() as stack:
            addresses = self.layout.control, self.layout.bulk
            genesis = self.genesis
            workers = [
                stack.enter_context(
                    LightWorker(n, genesis, *addresses, self.credentials(n), timeout_s=3600.0)
                )
                for n in WORKERS
            ]
            for worker in workers:
                worker.join()
            family = family_of(process.pid)
            for pid in family:
                _forget_peak(pid)
            idle = sum(memory_kib(pid, "VmRSS") for pid in family)
            with ThreadPoolExecutor(len(workers)) as pool:
                for done in [pool.submit(contribute, w) for w in workers]:
                    done.result()
            start_s, start_cpu_s = time.perf_counter(), sum(map(_cpu_s, family))
            workers[0].receive_record("commit")
            commit_s = time.perf_counter() - start_s
            commit_cpu_s = sum(map(_cpu_s, family)) - start_cpu_s
            peak = sum(memory_kib(pid, "VmHWM") for pid in family)
        return CommitCost(
            (peak - idle) / 1024, commit_s, commit_cpu_s, 4e-9 * genesis.schema.length
        )

    @contextmanager
    def coordinator(self, heap_folder: Path | None = None) -> Iterator[LocalProcess]:
        """Run a coordinator as long as the block lasts.

        Args:
            heap_folder: where its processes tell what they hold, see `inside/sitecustomize.py`.
        """
        process = self._command(COORDINATOR, "--config", self.config, heap_folder=heap_folder)
        try:
            host, _, port = self.layout.control.rpartition(":")
            assert host == HOST
            grpc.channel_ready_future(
                grpc.secure_channel(f"{host}:{port}", self.credentials(self._first))
            ).result(timeout=60)
            yield process
        finally:
            process.terminate()
            if not process.wait(20):
                process.kill()

    def _command(self, *arguments: object, heap_folder: Path | None = None) -> LocalProcess:
        name = str(arguments[0])
        command = own_command("crosscloud", *map(str, arguments))
        environment = own_path()
        if heap_folder is not None:
            environment["PYTHONPATH"] = os.pathsep.join((str(_INSIDE), environment["PYTHONPATH"]))
            environment["HEAP_FOLDER"] = str(heap_folder)
        return LocalProcess(name, command, self.layout.log(name), environment)


def family_of(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    found = [pid]
    for each in found:  # it grows meanwhile
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def _forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def memory_kib(pid: int, field: str) -> int:
    """Return a field of /proc/PID/status, such as VmRSS."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    raise AssertionError(f"/proc/{pid}/status has no {field}")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
