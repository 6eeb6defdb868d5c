"""Whole federations of real processes on loopback, with a learner that starts fast."""

import json
import re
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from commands.demo.federation import Federation
from commands.demo.layout import COORDINATOR, EVALUATOR, OPERATOR, FederationSpec, WorkerSpec
from commands.report.run_folder import read_run
from commands.verify.main import main as verify
from common import canonical
from common.documents import Record, Version
from common.ids import Digest
from services.disk.data_store import DataStore
from services.process.exit_status import Exit
from services.wire.operator_link import RunStatus
from services.worker.state import StateFolder
from tests.rig.links.connect_proxy import ConnectProxy
from tests.rig.links.line import Line
from tests.rig.rounds.run_script import outcome_of
from worker.rounds.round import Stage

TEXT = {"a.txt": "the quick brown fox jumps over the lazy dog. " * 400}
NAMES = ("aws", "azure", "gcp", "onprem")
PATIENCE_S = 110.0
MASKED: dict[str, Any] = {"tier": "masked", "min_cohort": 3}
TIERS = pytest.mark.parametrize(
    "tier",
    [
        pytest.param({}, marks=pytest.mark.long("the masked tier is the longer way"), id="tls"),
        pytest.param(MASKED, id="masked"),
    ],
)
TOPK = pytest.mark.long("tests/integration/test_learning.py commits topk without processes")
FLOAT32 = pytest.mark.long("tests/integration/test_learning.py commits it without processes")
TLS = pytest.mark.long("the test of closed ports runs in the tls tier")
CODECS = pytest.mark.long("the histories of tests/scenarios/test_simulation.py have every codec")


def spec(
    folder: Path,
    *,
    width: int = 32,
    versions: int = 8,
    names: tuple[str, ...] = NAMES,
    **algorithm: Any,
) -> FederationSpec:
    run = {
        "learner": "examples.own_learner:build",
        "settings": {"width": width},
        "preset": "async_diloco",
        "algorithm": {
            "tier": "tls",
            "local_steps": 10,
            "min_cohort": 2,
            "schedule": {"peak": 0.5, "warmup_steps": 10},
            **algorithm,
        },
        "stop": {"versions": versions},
    }
    workers = tuple(WorkerSpec(n, TEXT, max_steps_per_s=40) for n in names)
    timings = {
        "heartbeat_s": 0.5,
        "worker_lease_s": 5.0,
        "key_timeout_s": 10.0,
        "upload_timeout_s": 5.0,
        "first_grace_s": 0.5,
    }
    return FederationSpec(folder, "test", workers, TEXT, run, timings=timings)


def until(federation: Federation, condition: Callable[[RunStatus], bool]) -> RunStatus:
    """Wait until the status meets a condition."""
    for _ in range(int(PATIENCE_S / 0.1)):
        federation.check()
        if (status := federation.status()) is not None and condition(status):
            return status
        federation.sleep(0.1)
    raise AssertionError(f"waited in vain; the status is {federation.status()}")


def scrape(port: int) -> dict[str, list[Any]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    seen: dict[str, list[Any]] = {}
    for sample in (s for family in families for s in family.samples):
        seen.setdefault(sample.name, []).append(sample)
    return seen


def contributions(status: RunStatus, name: str) -> int:
    return next(w.contributions for w in status.workers if w.name == name)


def records(federation: Federation) -> list[Record]:
    folder = federation.layout.state(COORDINATOR) / "log"
    return [canonical.decode(p.read_bytes(), Record) for p in sorted(folder.glob("*.json"))]


def theta(store: DataStore, digest: Digest) -> np.ndarray:
    version = canonical.decode(store.read(digest, verify=True), Version)
    return np.frombuffer(b"".join(store.read(d, verify=True) for d in version.theta), "<f4")


@pytest.mark.parametrize(
    "algorithm",
    [
        pytest.param({}, marks=TLS),
        pytest.param(
            {
                "policy": "sync",
                "codec": {"kind": "float32", "bits": 32, "first_bits": 32},
                "outer": {"kind": "sgd", "learning_rate": 1.0, "momentum": 0.0},
            },
            marks=FLOAT32,
        ),
        MASKED,
        pytest.param(
            {**MASKED, "codec": {"kind": "cyclic", "bits": 4, "one_in": 3}, "max_cohort": 3},
            marks=CODECS,
        ),
        pytest.param({**MASKED, "codec": {"kind": "heavy", "bits": 8, "one_in": 2}}, marks=CODECS),
        pytest.param(
            {
                "codec": {"kind": "topk", "bits": 2, "first_bits": 2, "one_in": 16},
                "outer": {"kind": "sgd", "learning_rate": 1.0, "momentum": 0.0},
            },
            marks=TOPK,
        ),
    ],
    ids=["async 8-bit nesterov", "sync float32 sgd", "masked", "fragments", "heavy", "topk"],
)
def test_a_run_ends_at_its_limit_and_everybody_stands_on_the_head(
    tmp_path: Path, algorithm: dict[str, Any]
) -> None:
    federation = Federation(spec(tmp_path / "run", versions=6, **algorithm))
    with federation:
        federation.wait(PATIENCE_S)
    result = json.loads((federation.layout.state(COORDINATOR) / "result.json").read_text())

    log = records(federation)
    assert [r.seq for r in log] == list(range(len(log)))
    assert all(a.seq == 0 or a.previous == canonical.digest(log[a.seq - 1]) for a in log)
    head = log[-1]
    assert (head.version, result["versions"], result["privacy_tier"]) == (
        6,
        6,
        algorithm.get("tier", "tls"),
    )
    assert result["loss_nats"] < 5.5
    assert result["evaluated_version"] == 6
    assert set(result["workers"]) == set(NAMES)
    assert all(w["contributions"] > 0 for w in result["workers"].values())
    assert 0 < result["bytes_by_kind"]["up_update"] < result["bytes_up"]
    told = read_run(federation.layout.state(COORDINATOR), federation.layout.genesis).rounds
    assert told is not None
    assert [r.round for r in told] == [o for r in log if (o := outcome_of(r)) is not None]
    assert all(r.duration_s > 0 for r in told)

    mine = DataStore(federation.layout.state(COORDINATOR) / "data")
    orders = set()
    for name in NAMES:
        state = StateFolder(federation.layout.state(name))
        manifest = state.load()
        assert manifest is not None
        with np.load(state.folder(manifest) / "learner.npz") as learner:
            orders.add(int(learner["state.cursor.order"]))
        if manifest.position.version == 6:  # a worker may have left before it merged the last one
            assert manifest.position.digest == head.digest
            np.testing.assert_array_equal(
                theta(DataStore(state.data), head.digest), theta(mine, head.digest)
            )
    assert len(orders - {0}) == len(NAMES)  # each drew its own
    for name in (COORDINATOR, EVALUATOR, *NAMES):
        kept = [federation.layout.state(name), *federation.layout.state(name).rglob("*")]
        assert len(kept) > 5
        assert not [p for p in kept if p.lstat().st_mode & 0o077 and not p.is_symlink()]
    assert verify(federation.layout.folder, as_json=True) is Exit.OVER


@pytest.mark.long("below, one of three is killed in mid-upload, rejoins and contributes")
@TIERS
def test_a_worker_killed_in_mid_upload_rejoins_and_contributes(
    tmp_path: Path, tier: dict[str, Any]
) -> None:
    # 1.2 M values: several shards, of which the line lets one through.
    federation = Federation(spec(tmp_path / "run", width=1600, versions=1000, **tier))
    federation.prepare()
    with Line(federation.layout.bulk, limit_bytes=1_200_000) as line:
        config = federation.config("aws")
        settings = yaml.safe_load(config.read_text())
        settings["coordinator"]["bulk"] = line.address
        config.write_text(yaml.safe_dump(settings))
        with federation:
            assert line.stalled.wait(PATIENCE_S)
            (stage,) = federation.layout.state("aws").glob("save-*/stage/stage.json")
            assert canonical.decode(stage.read_bytes(), Stage).exposed
            federation.process("aws").kill()
            before = until(federation, lambda s: s.version >= 3)
            assert contributions(before, "aws") == 0

            line.heal()
            federation.restart("aws")
            until(federation, lambda s: contributions(s, "aws") >= 2)
        assert "resuming at version" in federation.layout.log("aws").read_text()
    outcomes = [r.commit.plan.round for r in records(federation) if r.commit]
    assert len(outcomes) == len(set(outcomes))


def test_closed_worker_ports_hide_nothing_from_the_coordinator_s_metrics(tmp_path: Path) -> None:
    federation = Federation(spec(tmp_path / "run", versions=1000))
    federation.prepare()
    for name in NAMES:
        config = federation.config(name)
        settings = yaml.safe_load(config.read_text())
        config.write_text(yaml.safe_dump({**settings, "metrics": {"port": 0}}))
    with federation:
        until(federation, lambda s: s.version >= 2 and len(s.workers) == len(NAMES))
        for name in NAMES:
            with pytest.raises(URLError):
                scrape(federation.layout.metrics_ports[name])
        federation.sleep(2.5)
        seen = scrape(federation.layout.metrics_ports[COORDINATOR])
    for name in ("steps_per_second", "staleness_versions", "network_bytes_total", "steps_total"):
        samples = seen[f"crosscloud_worker_{name}"]
        assert {s.labels["worker"] for s in samples} == set(NAMES), name
    sent = [
        s.value
        for s in seen["crosscloud_worker_network_bytes_total"]
        if s.labels["direction"] == "sent" and s.labels["kind"] == "update"
    ]
    assert min(sent) > 0
    assert seen["crosscloud_model_version"][0].value >= 2
    assert 0 < seen["crosscloud_aggregate_saturation_ratio"][0].value < 0.5


@pytest.mark.long("test_coordinator.py orders one, test_trainer_process.py follows one")
@TIERS
def test_a_roll_back_is_followed_by_everybody_and_the_run_goes_on(
    tmp_path: Path, tier: dict[str, Any]
) -> None:
    federation = Federation(spec(tmp_path / "run", versions=1000, **tier))
    with federation:
        until(federation, lambda s: s.version >= 4)
        federation.run("rollback", "--config", federation.config(OPERATOR), "1")
        until(federation, lambda s: any(r.rollback for r in records(federation)))
        back = next(r for r in records(federation) if r.rollback)
        until(federation, lambda s: s.version >= back.version + 2)
        until(
            federation, lambda s: s.evaluation is not None and s.evaluation.version >= back.version
        )

    log = records(federation)
    first = next(r for r in log if r.commit and r.version == 1)
    assert back.digest == first.digest
    assert back.version == log[back.seq - 1].version + 1
    assert back.counters.tokens == log[back.seq - 1].counters.tokens
    for name in NAMES:
        said = federation.layout.log(name).read_text()
        assert f"rolled back: version {back.version}" in said
        assert "DivergedError" not in said
    after = [r.commit for r in log if r.commit and r.version > back.version]
    assert {w for c in after for w in c.survivors}


@pytest.mark.long("test_catching_up.py tells real workers to end, and starts them again")
def test_a_worker_that_is_told_to_end_saves_its_work_and_goes_on_from_it(tmp_path: Path) -> None:
    with Federation(spec(tmp_path / "run", versions=40)) as federation:
        until(federation, lambda s: s.version >= 1 and contributions(s, "aws") > 0)
        process = federation.process("aws")
        process.terminate()
        assert process.wait(PATIENCE_S)
        assert process.exit_code == Exit.TOLD, process.last_lines()
        log = federation.layout.log("aws").read_text()
        assert "told to end: saving" in log
        assert "not saved in time" not in log
        until(federation, lambda s: "aws" not in {w.name for w in s.workers})
        before = StateFolder(federation.layout.state("aws")).load()
        assert before is not None
        federation.restart("aws")
        until(federation, lambda s: "aws" in {w.name for w in s.workers})
        resumed = f"resuming at version {before.position.version} from the save"
        assert resumed in federation.layout.log("aws").read_text()


def test_of_three_a_killed_worker_ends_the_round_and_its_return_lets_the_next_one_commit(
    tmp_path: Path,
) -> None:
    federation = Federation(
        spec(tmp_path / "run", width=1600, versions=1000, names=NAMES[:3], **MASKED)
    )
    federation.prepare()
    with Line(federation.layout.bulk, limit_bytes=1_200_000) as line:
        config = federation.config("aws")
        settings = yaml.safe_load(config.read_text())
        settings["coordinator"]["bulk"] = line.address
        config.write_text(yaml.safe_dump(settings))
        with federation:
            assert line.stalled.wait(PATIENCE_S)
            federation.process("aws").kill()
            before = until(federation, lambda s: s.aborts >= 1)
            assert before.version == 0
            steps = {w.name: w.steps for w in before.workers}
            until(  # the others train on; no sum of two is made
                federation,
                lambda s: all(
                    w.steps > steps[w.name] or w.pending_steps > 0
                    for w in s.workers
                    if w.name != "aws"
                ),
            )
            line.heal()
            federation.restart("aws")
            until(federation, lambda s: contributions(s, "aws") >= 2)
    log = records(federation)
    aborts = [r.abort for r in log if r.abort is not None]
    assert aborts[0].reason == "below_threshold"
    assert aborts[0].abandons
    check_ledger(federation, log)


def check_ledger(federation: Federation, log: list[Record]) -> None:
    """Each worker takes its work for contributed where the log says so, and nowhere else."""
    commits = [r.commit for r in log if r.commit is not None]
    assert all(len(c.survivors) == 3 for c in commits)
    for name in NAMES[:3]:
        said = federation.layout.log(name).read_text()
        told = re.findall("contributed to round ([0-9a-f]{8})", said)
        in_log = [c.plan.round[:8] for c in commits if name in c.survivors]
        assert len(set(told)) == len(told)
        assert told == in_log[: len(told)]  # it may have ended before it read the last one
        assert len(told) >= len(in_log) - 1
    counters = log[-1].counters
    assert sum(w.tokens for w in counters.workers.values()) == counters.tokens


@pytest.mark.long("tests/integration/test_proxies.py and test_doctor.py dial loopback past a proxy")
@pytest.mark.parametrize("environ", [{}, {"no_proxy": "example.org"}], ids=str)
def test_an_http_proxy_in_the_environment_does_not_reach_a_run_on_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    with ConnectProxy(refusal="403 Forbidden") as proxy:
        for name, value in {"http_proxy": proxy.url, **environ}.items():
            monkeypatch.setenv(name, value)
        with Federation(spec(tmp_path / "run", versions=3)) as federation:
            federation.wait(PATIENCE_S)
        assert proxy.asked == []


@pytest.mark.long("tests/scenarios/run/masked_organisations.txt plays it without processes")
def test_two_workers_of_one_organisation_take_turns_in_masked_sums(tmp_path: Path) -> None:
    plain = spec(tmp_path / "run", versions=6, **MASKED)
    party = {"aws": "acme", "onprem": "acme"}
    workers = tuple(replace(w, organisation=party.get(w.name, "")) for w in plain.workers)
    with Federation(replace(plain, workers=workers)) as federation:
        federation.wait(PATIENCE_S)
    result = json.loads((federation.layout.state(COORDINATOR) / "result.json").read_text())
    counted = {name: w["contributions"] for name, w in result["workers"].items()}
    assert (result["versions"], result["rounds_aborted"]) == (6, 0)
    assert counted["aws"] + counted["onprem"] == counted["azure"] == counted["gcp"] == 6
    assert min(counted.values()) >= 1
