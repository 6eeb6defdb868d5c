"""A real Prometheus with the scrape file and the rules of deploy/, on the ports of a local run."""

import contextlib
import json
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from commands.demo.layout import free_ports
from commands.demo.processes import LocalProcess
from tests.deploy.conftest import PROMETHEUS
from tests.rig.programs import needed

JOBS = ("crosscloud-coordinator", "crosscloud-evaluator", "crosscloud-worker")
Targets = dict[str, list[str]]
Samples = list[tuple[float, float]]


@dataclass
class Series:
    """One series: its labels, and (time, value)."""

    labels: dict[str, str]
    samples: Samples


@dataclass
class Prometheus:
    """A server that answers."""

    url: str
    began_s: float
    ended_s: float = 0.0

    def ask(self, path: str, **arguments: Any) -> Any:
        query = urllib.parse.urlencode(arguments, doseq=True)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=60) as answer:
            said = json.load(answer)
        assert said["status"] == "success", said
        return said["data"]

    def over_the_run(self, expr: str) -> list[Series]:
        """Return what the query gives, every second of the run."""
        at = {"start": self.began_s, "end": self.ended_s or time.time(), "step": 1}
        found = self.ask("query_range", query=expr, **at)["result"]
        return [Series(s["metric"], [(float(t), float(v)) for t, v in s["values"]]) for s in found]

    def labels_of(self, match: str, label: str) -> list[str]:
        """Return Grafana's label_values(match, label)."""
        at = {"start": self.began_s, "end": self.ended_s or time.time()}
        found = self.ask("series", **{"match[]": match}, **at)
        return sorted({series[label] for series in found if label in series})


def configuration(targets: Targets, seconds: int) -> dict[str, Any]:
    """Return the scrape file of deploy/ with other targets and a shorter interval."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": f"{seconds}s", "evaluation_interval": f"{seconds}s"}
    config["rule_files"] = [str(PROMETHEUS / path) for path in config["rule_files"]]
    assert [job["job_name"] for job in config["scrape_configs"]] == list(JOBS)
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": targets[job["job_name"]]}]
    return config


@contextlib.contextmanager
def prometheus_server(folder: Path, targets: Targets) -> Iterator[Prometheus]:
    """Scrape every second; the server ends with the context."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration(targets, 1)))
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    command = (
        needed("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    )
    process = LocalProcess("prometheus", command, folder / "prometheus.log", {"GOMAXPROCS": "1"})
    try:
        deadline_s = time.monotonic() + 60
        while not _ready(address):
            assert process.exit_code is None, process.last_lines()
            assert time.monotonic() < deadline_s, process.last_lines()
            time.sleep(0.2)
        yield Prometheus(f"http://{address}", time.time())
    finally:
        process.terminate()
        if not process.wait(20):
            process.kill()


def _ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
