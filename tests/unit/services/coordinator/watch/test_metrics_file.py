import json
from pathlib import Path

from services.coordinator.watch.status import MetricsFile


def test_lines_are_appended_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for n in (1, 2):
        lines = MetricsFile(path)
        lines.append({"n": n})
        lines.close()
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [1, 2]


def test_what_a_kill_tore_off_does_not_spoil_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"n": 1}\n{"n": 2, "ra')
    lines = MetricsFile(path)
    lines.append({"n": 3})
    lines.close()
    assert path.read_text() == '{"n": 1}\n{"n": 2, "ra\n{"n": 3}\n'


def test_a_full_disk_is_no_error() -> None:
    lines = MetricsFile(Path("/dev/full"))
    lines.append({"n": 1})
    lines.close()
