import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from benchmarks.compression_report import (
    Figures,
    as_document,
    figures,
    from_document,
    most_within,
    plot,
    table,
)
from common.ids import Digest
from simulator.experiment import Learned, Traffic

EXCHANGES, STEPS, PARAMETERS = 8, 240, 1000


def learned(loss: float, up_bytes: int) -> Learned:
    """Four workers, two rounds of thirty steps."""
    traffic = Traffic({"update": up_bytes // 4, "control": 77}, {})
    return Learned(
        digest=Digest(""),
        versions=2,
        loss=loss,
        accuracy=0.5,
        evaluated_tokens=10,
        parameters=PARAMETERS,
        exchanges=EXCHANGES,
        steps=STEPS,
        tokens=0,
        age=0.0,
        aggregate_bytes=2 * 475,
        seconds=1.0,
        traffic=dict.fromkeys("abcd", traffic),
        glances=(),
    )


B = {seed: learned(2.0 + seed / 10, 8 * 4000) for seed in range(1, 6)}


def row(name: str, factors: list[float], up_bytes: int, tier: str = "masked") -> Figures:
    """Return the figures of a row whose losses are those of (b) by these factors."""
    runs = {
        seed: learned(factor * B[seed].loss, 8 * up_bytes) for seed, factor in enumerate(factors, 1)
    }
    return figures(name, "quantisation", "text", tier, 30, runs, ("(b)", B))


def test_savings_are_per_exchange_and_per_step() -> None:
    masked = row("8 bits", [1.0] * 5, 1000)
    assert masked.up_bytes == 1000
    assert masked.saving_per_exchange == 4.0
    assert masked.saving_per_step == 120.0
    assert masked.steps == 30
    assert masked.down_bytes == 475


def test_the_difference_is_paired_by_seed() -> None:
    found = row("4 bits", [1.02, 1.02, 1.02, 1.02, 1.02], 500)
    assert found.excess == pytest.approx([0.02] * 5)
    assert found.bound == pytest.approx(0.02)  # although the losses differ by 20 %


def test_only_what_is_proved_with_enough_seeds_counts() -> None:
    good = row("good", [1.001] * 5, 500)
    better = row("better, but nobody knows", [1.001] * 4, 250)
    scattered = row("good on average", [0.95, 1.05, 0.95, 1.05, 1.0], 250)
    open_ = row("good, seen by the coordinator", [1.001] * 5, 100, tier="tls")
    rows = [good, better, scattered, open_]
    assert most_within(rows, 0.01, ("masked",)) == good
    assert most_within(rows, 0.01, ("masked", "tls")) == open_
    assert most_within(rows, 0.0001, ("masked", "tls")) is None


def test_a_table_and_a_result_file_say_the_same() -> None:
    rows = [row("good", [1.001] * 5, 500), row("one, seed", [1.1], 250)]
    told = table(rows)
    assert "| good | masked |" in told
    assert "+0.10% | +0.10% |" in told
    assert "1 (exploratory) |" in told
    assert table(from_document(json.loads(json.dumps(as_document(rows))))) == told


def test_pooled_training_has_no_bytes() -> None:
    runs = {seed: learned(1.9, 8 * 4000) for seed in (1, 2)}
    pooled = figures("(c)", "", "text", "", 30, runs, None)
    assert (pooled.up_bytes, pooled.saving_per_step) == (0, 0)
    assert table([pooled]).splitlines()[-1].count(" - ") == 8 - 1  # of 11 cells
    assert most_within([pooled], 1.0, ("masked", "")) is None


def test_the_plot_is_well_formed_and_marks_what_is_exploratory() -> None:
    rows = [row("good", [1.001] * 5, 500), row("a < b, seed", [1.1], 250)]
    reference = replace(rows[0], name="(b)", reference="")
    picture = ET.fromstring(plot([*rows, reference], [reference], "text"))
    circles = [e for e in picture.iter() if e.tag.endswith("circle")]
    assert sorted(c.attrib["fill"] == "white" for c in circles) == [False, True]
    left, right = sorted(circles, key=lambda c: float(c.attrib["cx"]))
    assert left.attrib["fill"] == "white"  # fewer bytes
    assert float(left.attrib["cy"]) < float(right.attrib["cy"])  # higher loss
