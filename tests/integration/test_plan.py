"""What `crosscloud plan` says before a run, against what a real small run moved and kept."""

import contextlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands.demo.federation import Federation
from commands.demo.layout import COORDINATOR, EVALUATOR, OPERATOR
from commands.plan import room
from commands.plan.forecast import Forecast, forecast
from commands.plan.options import read_options
from commands.plan.traffic import Traffic
from common.documents import Genesis, Outer, Record, Stop
from common.ids import Digest
from common.schema import ModelSchema, TensorSpec
from services.config.genesis_file import load_genesis
from services.coordinator.kept.retention import Retention
from services.disk.data_store import COMPRESSED_SUFFIX
from simulator.coordinator import SNAPSHOT_EVERY as SIMULATED
from simulator.learning import learn
from tests.integration.test_federation import MASKED, records, scrape, spec, until
from tests.rig.workers.small_learner import NUM_SYMBOLS, RUN, SYNC

NAMES = ("aws", "azure", "gcp")
WIDTH = 800  # 0.6 million values
SNAPSHOT_EVERY = 3
HEARTBEAT_S = 10.0
SGD = {"outer": {"kind": "sgd", "learning_rate": 0.6, "momentum": 0.0}}


def moved(federation: Federation, name: str) -> dict[tuple[str, str], float]:
    seen = scrape(federation.layout.metrics_ports[name])["crosscloud_local_network_bytes_total"]
    return {(s.labels["direction"], s.labels["kind"]): s.value for s in seen}


def compressed_sizes(data: Path) -> dict[Digest, int]:
    """Return the bytes of the compressed files that are there now."""
    found = {}
    for path in data.rglob(f"*{COMPRESSED_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            found[Digest(path.stem)] = path.stat().st_size
    return found


def size(folder: Path) -> int:
    """Return the bytes on disk of a folder in which files come and go."""
    found = 0
    for place, _, files in os.walk(folder):  # a folder that went is skipped
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                found += size_of(Path(place, name))
    return found


def size_of(path: Path) -> int:
    return path.stat().st_blocks * 512


def resting(federation: Federation) -> None:
    """Pause; return once no round is open and every worker stands on the newest version."""
    federation.run("pause", "--config", federation.config(OPERATOR))
    rests = until(federation, lambda s: (s.state, s.phase) == ("paused", "collecting_offers"))
    ports = federation.layout.metrics_ports
    until(
        federation,
        lambda _: all(
            scrape(ports[n])["crosscloud_local_version"][0].value == rests.version for n in NAMES
        ),
    )


def between(before: dict[Any, float], after: dict[Any, float]) -> dict[Any, float]:
    return {key: after[key] - before.get(key, 0) for key in after}


def of(traffic: Traffic, direction: str, kind: str) -> int:
    return {str(d): by_kind for d, by_kind in traffic.items()}[direction].get(kind, 0)


@pytest.mark.long("test_traffic.py compares a masked run's updates; what is at rest is below")
@pytest.mark.parametrize("algorithm", [SGD, MASKED], ids=["tls", "masked"])
def test_a_plan_is_within_five_percent_of_a_real_run(
    tmp_path: Path, algorithm: dict[str, Any]
) -> None:
    described = spec(tmp_path / "run", width=WIDTH, versions=1000, names=NAMES, **algorithm)
    timings = {**described.timings, "heartbeat_s": HEARTBEAT_S, "worker_lease_s": 60.0}
    # every cohort is all three, however busy the machine is
    timings |= dict.fromkeys(("first_grace_s", "key_timeout_s", "upload_timeout_s"), 60.0)
    federation = Federation(replace(described, timings=timings))
    federation.prepare()
    config = federation.config(COORDINATOR)
    settings = {**yaml.safe_load(config.read_text()), "snapshot_every": SNAPSHOT_EVERY}
    config.write_text(yaml.safe_dump(settings))
    genesis = load_genesis(federation.layout.genesis)
    told = read_options(None)
    told = told.model_copy(
        update={
            "snapshot_every": SNAPSHOT_EVERY,
            "heartbeat_s": HEARTBEAT_S,
            "optimizer_bytes": 0.0,  # the learner has none
        }
    )
    plan = forecast(genesis, told)
    peaks = dict.fromkeys((COORDINATOR, EVALUATOR, "aws"), 0)
    store = federation.layout.coordinator.data
    compressed: dict[Digest, int] = {}

    def watched(version: int) -> Any:
        def reached(status: Any) -> bool:
            compressed.update(compressed_sizes(store))
            for name in peaks:
                peaks[name] = max(peaks[name], size(federation.layout.state(name)))
            return bool(status.version >= version)

        return reached

    with federation:
        until(federation, watched(2))
        resting(federation)
        before, began = {n: moved(federation, n) for n in NAMES}, records(federation)
        since_s = time.monotonic()
        federation.run("resume", "--config", federation.config(OPERATOR))
        until(federation, watched(began[-1].version + 6))
        resting(federation)
        federation.sleep(5.0)  # until what goes is deleted
        after, log = {n: moved(federation, n) for n in NAMES}, records(federation)
        seconds = round(time.monotonic() - since_s)
        compressed.update(compressed_sizes(store))
        data = size(store) - sum(size_of(p) for p in store.rglob(f"*{COMPRESSED_SUFFIX}"))

    commits = [r.commit for r in log[len(began) :] if r.commit is not None]
    assert all(c.survivors == NAMES for c in commits)
    assert not [r for r in log if r.abort is not None]
    # how well a sum compresses differs from one to the next: told is what just these came to
    left = sum(compressed.get(c.aggregate, c.aggregate_bytes) for c in commits)
    ratio = left / sum(c.aggregate_bytes for c in commits)
    told = told.model_copy(update={"compressed_aggregates": ratio})
    uncompressed, plan = plan, forecast(genesis, told)
    assert of(uncompressed.version, "received", "aggregate") >= of(
        plan.version, "received", "aggregate"
    )
    for name in NAMES:
        found = between(before[name], after[name])
        check_traffic(plan, found, len(commits), seconds)
    check_disks(plan, peaks)
    planned = planned_data(genesis, SNAPSHOT_EVERY, log, len(NAMES))
    if "outer" in algorithm:
        assert data == pytest.approx(planned, rel=0.05)
    else:  # while nobody is missing, acc is zeros: one file
        assert 0.6 * planned <= data <= 1.02 * planned


TLS = pytest.mark.long("masked keeps the same files")


@pytest.mark.parametrize(
    ("tier", "num_versions"), [pytest.param("tls", 6, marks=TLS), ("masked", 7)]
)
def test_versions_and_aggregates_at_rest_are_as_planned(
    tmp_path: Path, tier: str, num_versions: int
) -> None:
    outer, log = Outer("sgd", 0.6, 0.0), list[Record]()
    algorithm = replace(SYNC, tier=tier, outer=outer)
    run = replace(RUN, algorithm=algorithm, stop=Stop(versions=num_versions), glance_every=0)
    learn(run, tmp_path, log.append)

    files = (tmp_path / COORDINATOR / "data").iterdir()
    data = sum(path.stat().st_size for path in files if path.suffix != COMPRESSED_SUFFIX)
    schema = ModelSchema((TensorSpec("w", (NUM_SYMBOLS, NUM_SYMBOLS)),))
    genesis = Genesis("small", 1, "", {}, schema, Digest("0" * 64), algorithm, run.stop)
    planned = planned_data(genesis, SIMULATED, log, len(run.clouds))
    assert data == pytest.approx(planned, rel=0.05)


def planned_data(
    genesis: Genesis, snapshot_every: int, log: list[Record], num_survivors: int
) -> int:
    """Return what the plan says of the files that are kept after these records."""
    retention = Retention(genesis.version0, snapshot_every, version_bytes=0)
    for record in log:
        retention.recorded(record)
    order = retention.collect()
    kept = room.Kept(len(order.versions), len(order.files))
    return room.coordinator_data_bytes(genesis, kept, num_survivors)


def check_traffic(
    plan: Forecast, found: dict[tuple[str, str], float], num_rounds: int, seconds: int
) -> None:
    """Compare what one worker moved in some rounds."""
    for direction, kind, rel in (("sent", "update", 0.01), ("received", "aggregate", 0.05)):
        planned = num_rounds * of(plan.version, direction, kind)
        assert found[direction, kind] == pytest.approx(planned, rel=rel)
    for direction in ("sent", "received"):
        beats = of(plan.heartbeats_per_hour, direction, "control") * seconds / 3600
        control = num_rounds * of(plan.version, direction, "control") + beats
        if plan.tier == "masked" or direction == "received":  # else it is mostly heartbeats
            # a part of it goes by the clock, and a busy machine's beats are late or together
            assert found[direction, "control"] == pytest.approx(control, rel=0.15)


def check_disks(plan: Forecast, peaks: dict[str, int]) -> None:
    """The most that was seen is no more than planned, and at least half of it."""
    roles = {COORDINATOR: "coordinator", EVALUATOR: "evaluator", "aws": "worker"}
    for name, role in roles.items():
        assert 0.5 * plan.needs.disk[role] <= peaks[name] <= 1.02 * plan.needs.disk[role], name
