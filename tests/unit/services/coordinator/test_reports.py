"""Totals of workers go on over restarts of theirs and of the coordinator."""

from pathlib import Path

import pytest

from common.ids import WorkerId
from protos.v1 import session_pb2
from services.coordinator.reports import Reports
from services.wire import DIRECTIONS

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
    reported = (total.sent, total.received, total.float32_sent, total.float32_received)
    carried = (r.carried.get(direction, {}) for direction in DIRECTIONS)
    return total.steps, total.tokens, *(sum(kinds.values()) for kinds in (*reported, *carried))


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


@pytest.mark.parametrize("content", ["", "[1]", '{"aws": {}}', '{"aws": {"last": [1]}}', "\x00"])
def test_a_damaged_file_is_said_and_totals_begin_anew(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "totals.json"
    path.write_text(content)
    reports = Reports()
    reports.load(path)
    assert "begin anew" in caplog.text
    assert totals(reports) == (0,) * 8


def test_a_disk_that_takes_nothing_ends_nothing(tmp_path: Path) -> None:
    Reports().save(tmp_path / "gone" / "totals.json")


def test_the_first_start_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Reports().load(tmp_path / "totals.json")
    assert not caplog.records
