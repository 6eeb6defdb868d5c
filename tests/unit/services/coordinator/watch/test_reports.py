"""Totals of workers go on over restarts of theirs and of the coordinator."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from common.documents import Counters, Stop
from common.errors import BadNumbersError
from common.ids import WorkerId
from coordinator.status import Status
from protos.v1 import session_pb2
from services.coordinator.watch.reports import MOST, Reports
from services.coordinator.watch.status import StatusSource
from services.wire.traffic import DIRECTIONS
from tests.rig.rounds.small_run import Run

AWS = WorkerId("aws")


def heartbeat(n: int) -> session_pb2.Heartbeat:
    kinds = {"update": n}
    return session_pb2.Heartbeat(
        steps_total=n,
        tokens_total=10 * n,
        bytes_sent=kinds,
        bytes_received=kinds,
        float32_sent={"update": 4 * n},
        float32_received={"update": 4 * n},
    )


def totals(reports: Reports) -> tuple[int, ...]:
    r = reports.of(AWS)
    total = r.total
    kinds_of = (total.bytes_sent, total.bytes_received, total.float32_sent, total.float32_received)
    carried = (r.carried.get(direction, {}) for direction in DIRECTIONS)
    by_kind = (sum(kinds.values()) for kinds in (*kinds_of, *carried))
    return total.steps_total, total.tokens_total, *by_kind


def restarted(path: Path, reports: Reports) -> Reports:
    reports.save(path)
    found = Reports()
    found.load(path)
    return found


def test_a_restart_of_the_coordinator_changes_no_total(tmp_path: Path) -> None:
    reports = Reports()
    reports.joined(AWS, "boot 1")
    reports.heard(AWS, heartbeat(5))
    reports.joined(AWS, "boot 2")
    reports.heard(AWS, heartbeat(3))
    reports.carried(AWS, "sent", "update", 7)
    reports.carried(AWS, "received", "control", 4)
    reports.carried(AWS, "received", "download", 5)
    assert totals(reports) == (8, 80, 8, 8, 32, 32, 7, 9)

    reports = restarted(tmp_path / "totals.json", reports)
    assert totals(reports) == (8, 80, 8, 8, 32, 32, 7, 9)
    reports.joined(AWS, "boot 2")  # it went on while the coordinator was away
    reports.heard(AWS, heartbeat(4))
    assert totals(reports) == (9, 90, 9, 9, 36, 36, 7, 9)
    reports = restarted(tmp_path / "totals.json", reports)
    reports.joined(AWS, "boot 3")
    reports.heard(AWS, heartbeat(1))
    reports.carried(AWS, "sent", "update", 1)
    assert totals(reports) == (10, 100, 10, 10, 40, 40, 8, 9)


def test_a_name_that_was_removed_is_not_kept(tmp_path: Path) -> None:
    reports = Reports()
    reports.heard(AWS, heartbeat(5))
    reports.forget(AWS)
    assert totals(restarted(tmp_path / "totals.json", reports)) == (0,) * 8


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"aws": {}}', '{"aws": {"last": [1]}}', "\x00", "[" * 10**5]
)
def test_a_damaged_file_is_said_and_totals_begin_anew(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "totals.json"
    path.write_text(content)
    reports = Reports()
    reports.load(path)
    assert "begin anew" in caplog.text
    assert totals(reports) == (0,) * 8


def test_names_that_this_version_does_not_count_are_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, reports = tmp_path / "totals.json", Reports()
    reports.joined(AWS, "boot 1")
    reports.heard(AWS, heartbeat(5))
    reports.carried(AWS, "sent", "update", 7)
    reports.save(path)
    stored = json.loads(path.read_text())
    stored[AWS]["last"]["naps_total"] = stored[AWS]["earlier"]["naps_total"] = 3
    stored[AWS]["carried"]["sideways"] = {"update": 1}
    stored[AWS]["mood"] = "good"
    path.write_text(json.dumps(stored))
    found = Reports()
    found.load(path)
    assert totals(found) == totals(reports) != (0,) * 8
    assert not caplog.records


def test_a_disk_that_takes_nothing_ends_nothing(tmp_path: Path) -> None:
    Reports().save(tmp_path / "gone" / "totals.json")


def test_the_first_start_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Reports().load(tmp_path / "totals.json")
    assert not caplog.records


# What no worker can have counted

HUGE = 2**64 - 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps_total", HUGE),
        ("tokens_total", MOST + 1),
        ("pending_steps", HUGE),
        ("version", HUGE),
        ("speed", HUGE),
        ("link_bps", MOST + 1),
        ("resident_bytes", HUGE),
        ("merges_total", HUGE),
        ("healed_segments_total", HUGE),
        ("bytes_sent", {"update": HUGE}),
        ("bytes_received", {"a": MOST, "b": 1}),
        ("float32_sent", {"update": MOST + 1}),
        ("float32_received", {str(i): MOST // 99 for i in range(100)}),
        ("steps_per_s", float("nan")),
        ("steps_per_s", float("inf")),
        ("steps_per_s", -1.0),
        ("idle_share", float("nan")),
        ("idle_share", 1.5),
    ],
)
def test_a_heartbeat_that_counts_what_nobody_can_is_refused_and_the_one_before_stays(
    field: str, value: object
) -> None:
    reports = Reports()
    reports.joined(AWS, "boot 1")
    reports.heard(AWS, heartbeat(5))
    before = totals(reports)
    sent: dict[str, Any] = {field: value}
    with pytest.raises(BadNumbersError, match=f"aws: heartbeat: {field} is"):
        reports.heard(AWS, session_pb2.Heartbeat(**sent))
    assert totals(reports) == before


def test_kinds_of_a_worker_s_own_invention_are_one_kind() -> None:
    reports = Reports()
    reports.joined(AWS, "boot 1")
    invented = {f"kind {i}": 2 for i in range(1000)}
    for boot in ("boot 2", "boot 3"):
        reports.heard(AWS, session_pb2.Heartbeat(bytes_sent={"update": 7, **invented}))
        reports.joined(AWS, boot)
    assert reports.of(AWS).total.bytes_sent == {"update": 14, "other": 4000}


def core(**changes: object) -> Status:
    numbers = dict.fromkeys(("version", "num_records", "progress", "elapsed_s", "num_aborts"), 0)
    words = {"state": "running", "digest": "00", "phase": "", "waiting_for": ""}
    plain = {"evaluation": None, "counters": Counters(), "workers": ()}
    return cast("Status", SimpleNamespace(**{**numbers, **words, **plain, **changes}))


@pytest.mark.parametrize(
    ("changes", "progress"),
    [
        ({"elapsed_s": 900.0}, 0.25),
        ({"elapsed_s": 900.0, "progress": 0.125}, 0.25),
        ({"elapsed_s": 900.0, "progress": 0.5}, 0.5),
        ({"elapsed_s": 9000.0}, 1.0),
        ({"elapsed_s": 900.0, "version": 5}, 0.5),
    ],
)
def test_a_run_goes_on_between_its_records(changes: dict[str, float], progress: float) -> None:
    genesis = dataclasses.replace(Run().genesis, stop=Stop(hours=1, versions=10))
    source = StatusSource(genesis, lambda: core(**changes), Reports(), lambda: "")
    assert source.read().progress == progress


def test_no_number_of_boots_and_workers_blinds_the_status() -> None:
    reports = Reports()
    workers = [WorkerId(f"w{i}") for i in range(3000)]
    most = session_pb2.Heartbeat(
        steps_total=MOST, tokens_total=MOST, bytes_sent={"update": MOST}, bytes_received={"x": MOST}
    )
    for worker in workers:
        for boot in ("boot 1", "boot 2", "boot 3"):
            reports.joined(worker, boot)
            reports.heard(worker, most)
    shown = [
        SimpleNamespace(
            **dict.fromkeys(("silent_s", "version", "mean_staleness", "contributions"), 0),
            worker=worker,
            live=True,
            state="",
            pending_steps=0,
        )
        for worker in workers
    ]
    run = Run()
    source = StatusSource(run.genesis, lambda: core(workers=shown), reports, lambda: "")
    answer = source.read()
    assert answer.bytes_up == 2**63 - 1
    assert {w.tokens for w in answer.workers} == {MOST}
    json.dumps(source.result(), allow_nan=False)
