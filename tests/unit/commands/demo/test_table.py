import dataclasses
from typing import Any

import pytest
from rich.console import Console

from commands.demo.table import live_table, plain_line, saved
from protos.v1 import operator_pb2
from services.wire.operator_link import RunStatus, run_status
from tests.rig.rounds.masked_members import measured

WIDTH = 80


def worker(name: str = "aws", **changes: Any) -> operator_pb2.WorkerStatus:
    plain: dict[str, Any] = {
        "name": name,
        "live": True,
        "silent_s": 0.3,
        "version": 12,
        "staleness": 0.8,
        "steps_per_s": 5.4,
        "tokens": 384_000,
        "steps": 250,
        "contributions": 9,
        "bytes_sent": 4_812_345,
        "bytes_received": 7_000_000,
        "idle_share": 0.01,
        "state": "training",
        "pending_steps": 14,
    }
    return operator_pb2.WorkerStatus(**plain | changes)


def status(**changes: Any) -> RunStatus:
    plain = dataclasses.replace(
        run_status(operator_pb2.GetStatusResponse()),
        run="demo",
        state="running",
        version=12,
        seconds=61.4,
        phase="collecting_offers",
        evaluation=measured(12, 2.2468, accuracy=0.412),
        workers=tuple(worker(n) for n in ("aws", "gcp", "azure", "onprem")),
        bytes_up=20_000_000,
        bytes_down=30_000_000,
        float32_bytes=100_000_000,
    )
    return dataclasses.replace(plain, **changes)


EXTREME = status(
    run="a-run-whose-name-is-as-long-as-names-may-be-sixty-three-letters",
    version=1_234_567,
    seconds=987_654.0,
    bytes_up=999_999_999_999_999,
    float32_bytes=9_999_999_999_999_999,
    workers=(
        worker(
            "a-worker-whose-name-is-as-long-as-names-may-be",
            version=1_234_567,
            staleness=123.4,
            steps_per_s=1234.5,
            tokens=999_949_999_999,
            bytes_sent=999_949_999_999_999,
            state="in round: collect_masked",
        ),
    ),
)


MOST = 2**63 - 1
UTMOST = status(
    run="r" * 63,
    version=MOST,
    seconds=1e300,
    bytes_up=MOST,
    bytes_down=MOST,
    float32_bytes=MOST,
    phase="collect_masked",
    evaluation=measured(MOST, 1e300, accuracy=1.0, perplexity=1e300, tokens=MOST),
    workers=tuple(
        worker(
            "w" * 63,
            version=MOST,
            staleness=staleness,
            steps_per_s=1e300,
            tokens=MOST,
            bytes_sent=2 * MOST,
            state="in round: collecting_offers",
        )
        for staleness in (1e300, float("inf"), float("nan"))
    ),
)


def printed(shown: RunStatus) -> list[str]:
    console = Console(width=WIDTH)
    with console.capture() as capture:
        console.print(live_table(shown))
    return capture.get().splitlines()


LATE = [dataclasses.replace(s, progress=p) for s in (EXTREME, UTMOST) for p in (1e-9, 0.5)]


@pytest.mark.parametrize(
    "shown", [status(), EXTREME, UTMOST, status(evaluation=None, workers=()), *LATE]
)
def test_the_table_never_wraps_at_80_columns(shown):
    lines = printed(shown)
    assert len(lines) == 2 + 1 + 1 + len(shown.workers)
    assert max(len(line) for line in lines) <= WIDTH


def test_a_loss_of_an_older_version_says_of_which():
    first = printed(status(version=14))[0]
    assert "version 14  loss 2.247  accuracy 41.2% of version 12" in first
    assert " of version" not in printed(status())[0]


def test_the_table_shows_every_number_that_was_asked_for():
    first, second, _, head, aws, *_ = printed(status())
    assert "version 12" in first
    assert "loss 2.247" in first
    assert "accuracy 41.2%" in first
    assert "61 s" in first
    assert "moved 50.0 MB  float32 FedAvg 200.0 MB  saved 75%" in second
    assert head.split() == ["worker", "version", "staleness", "steps/s", "tokens", "sent", "state"]
    assert aws.split() == ["aws", "12", "0.8", "5.4", "384.0k", "4.8", "MB", "training"]


def test_numbers_of_an_extreme_run_are_not_cut():
    row = printed(EXTREME)[-1]
    for cell in ("1234567", "123.4", "1234.5", "999.9G", "999.9 TB", "collect masked"):
        assert cell in row


def test_numbers_that_no_run_reaches_are_short_and_not_cut():
    first, second, _, head, *rows = printed(UTMOST)
    assert first.endswith("  version 9.2E  loss 1e+300  accuracy 100.0%  99999 h")
    assert second.rstrip().endswith("collect masked")
    assert "…" not in second + head
    for row in rows:
        name, *figures = row.split()
        assert name == "w" * 13 + "…"
        assert figures[:1] == ["9.2E"]
        assert figures[2:] == ["9.2E", "9.2E", "18.4", "EB", "collecting", "offers"]


def test_a_long_name_of_a_run_is_cut_before_its_figures_are():
    first = printed(EXTREME)[0]
    assert "…  version 1234567  loss 2.247  accuracy 41.2% of version 12  987654 s" in first


def test_a_paused_run_says_so_instead_of_its_phase():
    assert "paused" in printed(status(state="paused"))[1]


@pytest.mark.parametrize(
    "shown", [status(), EXTREME, UTMOST, status(evaluation=None), status(workers=()), *LATE]
)
def test_the_plain_line_fits_80_columns(shown):
    assert "\n" not in plain_line(shown)
    assert len(plain_line(shown)) <= WIDTH


@pytest.mark.parametrize(
    ("progress", "words"), [(0.61, "  61 s  39 s left"), (0.0061, "  61 s  2.8 h left")]
)
def test_both_say_how_much_of_the_run_is_left(progress, words):
    shown = status(seconds=61.0, progress=progress)
    assert printed(shown)[0].rstrip().endswith(words)
    assert plain_line(shown).endswith("moved 50.0 MB" + words.partition(" s")[2])
    lost = (worker("aws"), worker("gcp", live=False))
    assert plain_line(dataclasses.replace(shown, workers=lost)).endswith("workers 1/2")


@pytest.mark.parametrize(
    "changes", [{"progress": 0.0}, {"progress": 1.0}, {"state": "paused"}, {"seconds": 0.0}]
)
def test_where_nobody_can_tell_nothing_is_said_to_be_left(changes):
    shown = status(**{"progress": 0.5, **changes})
    assert "left" not in printed(shown)[0]
    assert "left" not in plain_line(shown)


def test_the_plain_line_counts_workers_that_have_not_joined_yet():
    assert "workers 4/6" in plain_line(status(), 6)


def test_the_plain_line_counts_live_workers():
    workers = (worker("aws"), worker("gcp", live=False))
    assert "workers 1/2" in plain_line(status(workers=workers))


def test_before_the_first_version_nothing_is_called_saved():
    assert saved(1200, 0) == "moved 1.2 kB"
