"""What processes say that they sent and received, against what the operating system carried.

Each worker dials through lines of its own, which count what TCP gives them; `ss` says what the
system counted at the worker's own sockets.
"""

import re
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands.demo.federation import Federation
from commands.demo.layout import COORDINATOR, OPERATOR
from common.progress import float32_bytes
from common.terms import round_layout
from services.config.genesis_file import load_genesis
from tests.integration.test_federation import TIERS, records, scrape, spec, until
from tests.rig.links.line import Line
from tests.rig.programs import find, needed

NAMES = ("aws", "gcp", "azure")
WIDTH = 3200  # 2.5 million values: 2.5 MB each way and version, twice that in the first
VERSIONS = 2
Bytes = dict[tuple[str, str], float]


@dataclass
class Lines:
    """One worker's way to both ports."""

    control: Line
    bulk: Line

    @property
    def carried(self) -> dict[str, int]:
        return {
            "sent": self.control.taken_bytes + self.bulk.taken_bytes,
            "received": self.control.given_bytes + self.bulk.given_bytes,
        }


def lines_of(federation: Federation, stack: ExitStack) -> dict[str, Lines]:
    """Put a line before both ports of the coordinator, for each worker its own."""
    found = {}
    for name in NAMES:
        config = federation.config(name)
        settings = yaml.safe_load(config.read_text())
        ports = {
            port: stack.enter_context(Line(settings["coordinator"][port]))
            for port in ("control", "bulk")
        }
        settings["coordinator"] = {port: line.address for port, line in ports.items()}
        config.write_text(yaml.safe_dump(settings))
        found[name] = Lines(**ports)
    return found


def counted(seen: dict[str, list[Any]], metric: str, **labels: str) -> Bytes:
    return {
        (s.labels["direction"], s.labels["kind"]): s.value
        for s in seen[metric]
        if labels.items() <= s.labels.items()
    }


def summed(by_kind: Bytes, direction: str) -> float:
    return sum(n for (d, _), n in by_kind.items() if d == direction)


def system_count(lines: Lines) -> dict[str, int]:
    """Return what the system counted at the worker's ends of its open connections."""
    found = {"sent": 0, "received": 0}
    for line in (lines.control, lines.bulk):
        command = (needed("ss"), "-tinHO", "dst", line.address)
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for direction, field in (("sent", "bytes_acked"), ("received", "bytes_received")):
            found[direction] += sum(map(int, re.findall(rf"{field}:(\d+)", shown)))
    return found


@pytest.mark.program("ss", required=False)
@TIERS
def test_exported_bytes_are_those_that_tcp_carried(tmp_path: Path, tier: dict[str, Any]) -> None:
    tier = {**tier, "min_cohort": len(NAMES)}  # nobody is left behind, however busy the machine is
    described = spec(tmp_path / "run", width=WIDTH, versions=1000, names=NAMES, **tier)
    patient = dict.fromkeys(("first_grace_s", "key_timeout_s", "upload_timeout_s"), 60.0)
    timings = {**described.timings, **patient, "worker_lease_s": 60.0}
    federation = Federation(replace(described, timings=timings))
    federation.prepare()
    genesis = load_genesis(federation.layout.genesis)
    with ExitStack() as stack:
        lines = lines_of(federation, stack)
        with federation:
            until(federation, lambda s: s.version >= VERSIONS)
            federation.run("pause", "--config", federation.config(OPERATOR))
            rests = until(
                federation, lambda s: (s.state, s.phase) == ("paused", "collecting_offers")
            )
            raw = float32_bytes(genesis.schema) * rests.version
            until(federation, lambda _: all(settled(federation, n, raw) for n in NAMES))
            told = {name: _told(federation, name, lines[name]) for name in NAMES}
            coordinator = scrape(federation.layout.metrics_ports[COORDINATOR])
    commits = [r.commit for r in records(federation) if r.commit is not None]
    aborts = [r for r in records(federation) if r.abort is not None]
    for name, (seen, carried, by_system) in told.items():
        wire = counted(seen, "crosscloud_local_network_bytes_total")
        theirs = counted(coordinator, "crosscloud_coordinator_network_bytes_total", worker=name)
        for direction in ("sent", "received"):
            # so that 2 % says something; sums come compressed
            assert carried[direction] > 1_000_000
            assert summed(wire, direction) == pytest.approx(carried[direction], rel=0.02)
            assert summed(theirs, direction) == pytest.approx(carried[direction], rel=0.02)
            if by_system is not None:
                assert by_system[direction] == pytest.approx(carried[direction], rel=0.005)
        mine = [c for c in commits if name in c.survivors]
        if not aborts:
            plans = [round_layout(genesis, c.plan.bits, c.plan.fragment) for c in mine]
            assert wire["sent", "update"] == pytest.approx(
                sum(p.sent_bytes for p in plans), rel=0.01
            )
        tells_loss = "crosscloud_local_training_loss_nats" in seen
        assert tells_loss == (not genesis.algorithm.masked)
        stands_for = counted(seen, "crosscloud_local_float32_bytes_total")
        assert stands_for["sent", "update"] >= float32_bytes(genesis.schema) * len(mine)
        assert stands_for["received", "aggregate"] == raw
        told_on = counted(coordinator, "crosscloud_worker_float32_bytes_total", worker=name)
        assert told_on == stands_for


def settled(federation: Federation, name: str, aggregates: int) -> bool:
    """Return whether a worker's own metrics and the coordinator's know that it has everything."""
    ports = federation.layout.metrics_ports
    mine = counted(scrape(ports[name]), "crosscloud_local_float32_bytes_total")
    seen = scrape(ports[COORDINATOR])
    theirs = counted(seen, "crosscloud_worker_float32_bytes_total", worker=name)
    return mine == theirs and mine.get(("received", "aggregate")) == aggregates


def _told(
    federation: Federation, name: str, lines: Lines
) -> tuple[dict[str, list[Any]], dict[str, int], dict[str, int] | None]:
    """Return a worker's metrics, what its lines carried, and what the system counted.

    The last is None where `ss`, or the one connection per port that it shows, is missing.
    """
    alone = lines.control.num_connections == lines.bulk.num_connections == 1
    by_system = system_count(lines) if alone and find("ss") else None
    return scrape(federation.layout.metrics_ports[name]), lines.carried, by_system
