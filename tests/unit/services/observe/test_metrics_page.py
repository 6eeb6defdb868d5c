"""docs/metrics.md names every metric of every process, as services/observe/metrics does."""

import re
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector

from services.observe.metrics.coordinator import CoordinatorMetrics
from services.observe.metrics.evaluator import EvaluatorMetrics
from services.observe.metrics.health import add_health
from services.observe.metrics.worker import WorkerMetrics
from services.observe.prometheus import PREFIX

PAGE = Path(__file__).parents[4] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)(?:\{([\w, ]*)\})?` \| (.*) \|$", re.MULTILINE)

Found = dict[str, tuple[tuple[str, ...], str]]


def declared(registry: CollectorRegistry) -> Found:
    """Return labels and words by name, as a query would call it."""
    found: Found = {}
    ours: list[Any] = [
        c for c in registry._collector_to_names if not isinstance(c, ProcessCollector)
    ]
    for collector in ours:
        labels = tuple(getattr(collector, "_labelnames", ()))
        families = {f"{PREFIX}{f.name}": f.labels for f in _families(collector)}
        for metric in collector.describe():
            name = metric.name + {"counter": "_total", "info": "_info"}.get(metric.type, "")
            found[name] = families.get(name, labels), metric.documentation
    return found


def _families(collector: object) -> list:
    return list(getattr(collector, "_families", {}).values())


def test_the_page_holds_each_metric_with_its_labels_and_words() -> None:
    metrics = (
        CoordinatorMetrics(run="r", software="s", tier="masked"),
        WorkerMetrics(run="r", worker="w", software="s", tells_loss=True),
        EvaluatorMetrics(run="r", software="s"),
    )
    add_health(metrics[0].registry, lambda: ())
    wanted: Found = {}
    for each in metrics:
        wanted |= declared(each.registry)
    assert len(wanted) > 60
    rows = ROW.findall(PAGE.read_text())
    said = {name: (tuple(filter(None, labels.split(", "))), text) for name, labels, text in rows}
    assert len(rows) == len(said)
    assert said == wanted
