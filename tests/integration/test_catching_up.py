"""Real workers that were away, or never there, beside a coordinator: which bytes they download.

One worker that is played makes the versions, while no real one is there to be waited for.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

import numpy as np

from commands.demo.layout import COORDINATOR
from common import canonical
from common.documents import Record, SideValues
from common.shards import PayloadLayout, pack_side_values
from services.disk.data_store import DataStore
from services.process.exit_status import Exit
from services.worker.state import Manifest, StateFolder
from tests.integration.conftest import LoneCoordinator, Make
from tests.integration.test_federation import scrape
from tests.rig.workers.light_worker import LightWorker

PATIENCE_S = 90.0
SNAPSHOT_EVERY = 4
ALGORITHM = {
    "tier": "tls",
    "min_cohort": 1,
    "clipping": False,
    "local_steps": 100_000,  # the real workers never offer
    "codec": {"kind": "dense", "bits": 8, "first_bits": 8},
}


def gaussian(layout: PayloadLayout, seed: int) -> Callable[[int], bytes]:
    """Return what reads the shards of an update as a codec makes it: it shrinks to four fifths."""
    draw = np.random.default_rng(seed).standard_normal(layout.length)
    values = np.rint(20 * draw).clip(-127, 127).astype(np.int8).tobytes()
    energy = np.full(layout.num_blocks, 256, np.uint32)
    side = pack_side_values(SideValues(65535, 0, 0), energy)
    payload = values + bytes(layout.side_offset - len(values)) + side

    def read(index: int) -> bytes:
        offset, length = layout.shard(index)
        return payload[offset : offset + length]

    return read


def commit(worker: LightWorker, at: Record | None) -> Record:
    """Make the next version, alone."""
    nonce = secrets.token_hex(16)
    if at is None:
        worker.offer(nonce=nonce)
    else:
        worker.offer(at.version, at.digest, nonce=nonce)
    plan = worker.receive_plan()
    worker.answer(plan)
    worker.receive("members")
    worker.upload(plan, gaussian(worker.layout(plan), plan.version))
    while True:
        record = worker.receive_record("commit")  # the first ones may be of before it joined
        if record.commit is not None and record.commit.plan == plan:
            return record


@contextmanager
def real_worker(coordinator: LoneCoordinator, name: str) -> Iterator[None]:
    """Run a worker's own processes, and end them in good order."""
    process = coordinator.command("worker", "--config", coordinator.layout.config(name))
    try:
        yield
        process.terminate()
        assert process.wait(PATIENCE_S), process.last_lines()
        assert process.exit_code == Exit.TOLD, process.last_lines()
    finally:
        process.kill()


def received(coordinator: LoneCoordinator, name: str, version: int) -> dict[str, float]:
    """Wait until a worker stands on a version; return the bytes that it received, by kind."""
    port = coordinator.layout.metrics_ports[name]
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        time.sleep(0.2)
        try:
            seen = scrape(port)
        except (URLError, ConnectionError):
            continue
        if saved_at(coordinator, name) == version and "crosscloud_local_version" in seen:
            (at,) = seen["crosscloud_local_version"]
            if at.value == version and seen["crosscloud_local_tokens_total"][0].value > 0:
                found = seen.get("crosscloud_local_network_bytes_total", [])
                ways = {s.labels["kind"]: s.value for s in found if s.labels["direction"] != "sent"}
                return {kind: ways.get(kind, 0.0) for kind in ("aggregate", "version")}
    log = coordinator.layout.log("worker").read_text()[-3000:]
    raise AssertionError(f"{name} does not come to version {version}: {log}")


def state_of(coordinator: LoneCoordinator, name: str) -> tuple[StateFolder, Manifest | None]:
    folder = StateFolder(coordinator.layout.state(name))
    return folder, folder.load() if not folder.is_new else None


def saved_at(coordinator: LoneCoordinator, name: str) -> int:
    path = coordinator.layout.state(name) / "manifest.json"
    if not path.exists():
        return -1
    return canonical.decode(path.read_bytes(), Manifest).position.version


def check_files(coordinator: LoneCoordinator, name: str, head: Record) -> None:
    """The worker's files of the head are sound, and the coordinator's."""
    state, manifest = state_of(coordinator, name)
    assert manifest is not None
    assert manifest.position.digest == head.digest
    mine = DataStore(state.data)
    theirs = DataStore(Path(coordinator.layout.state(COORDINATOR)) / "data")
    digests = [d for d in {p.name for p in state.data.iterdir()} if len(d) == 64]
    assert head.digest in digests
    assert mine.damaged(digests) == []  # type: ignore[arg-type]
    assert all(theirs.has(d) for d in digests)  # type: ignore[arg-type]


def test_few_missed_commits_come_as_sums_many_as_a_version_and_a_newcomer_takes_the_cheaper(
    make_coordinator: Make,
) -> None:
    coordinator = make_coordinator(
        start=False, settings={"width": 128}, algorithm=ALGORITHM, preset="async_diloco"
    )
    coordinator.edit(COORDINATOR, snapshot_every=SNAPSHOT_EVERY, drain_s=1.0)
    coordinator.start()
    values = coordinator.genesis.schema.length
    head: Record | None = None

    with real_worker(coordinator, "aws"):
        assert received(coordinator, "aws", 0) == {"aggregate": 0, "version": 0}  # from the seed

    with coordinator.worker("azure") as azure:
        azure.join()
        for _ in range(SNAPSHOT_EVERY + 1):
            head = commit(azure, head)
    assert head is not None
    with real_worker(coordinator, "aws"):
        came = received(coordinator, "aws", head.version)
        steps = (SNAPSHOT_EVERY + 1) * values
        assert 0.75 * steps < came["aggregate"] < 0.85 * steps  # compressed
        assert came["version"] < 0.1 * values  # its document, to compare
    check_files(coordinator, "aws", head)
    with real_worker(coordinator, "gcp"):
        came = received(coordinator, "gcp", head.version)
        assert 0.75 * steps < came["aggregate"] < 0.85 * steps
        assert came["version"] < 0.1 * values
    check_files(coordinator, "gcp", head)

    with coordinator.worker("azure") as azure:
        azure.join()
        for _ in range(3 * SNAPSHOT_EVERY - 1):
            head = commit(azure, head)
    with real_worker(coordinator, "aws"):
        came = received(coordinator, "aws", head.version)
        assert came["aggregate"] == 0
        assert 8 * values < came["version"] < 9 * values  # theta and momentum; acc is zero
    check_files(coordinator, "aws", head)
    with real_worker(coordinator, "onprem"):
        came = received(coordinator, "onprem", head.version)
        assert came["aggregate"] == 0
        assert came["version"] > 8 * values  # the snapshot: what led to it is gone
    check_files(coordinator, "onprem", head)
