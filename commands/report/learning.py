"""The page on how the model got better: loss, perplexity, accuracy, over time and over bytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from commands.report.axes import axis_of
from commands.report.charts import Curve, Scale, curves
from commands.report.markup import el
from commands.report.parts import (
    byte_scale,
    figure,
    left_out,
    paragraph,
    percent,
    plain,
    section,
    table,
    time_scale,
)
from commands.report.run_folder import Measured, RunData
from services.observe.amounts import human_bytes, human_seconds

_MOST_ROWS: Final = 60


@dataclass(frozen=True, slots=True)
class _Measure:
    """One of the three; `log`: its axis is logarithmic."""

    name: str
    read: Callable[[Measured], float]
    tick: Callable[[float], str]
    exact: Callable[[float], str]
    unit: str
    log: bool = False


_MEASURES: Final = (
    _Measure("Validation loss", lambda m: m.loss_nats, plain, "{:.3f}".format, "nats per token"),
    _Measure("Perplexity", lambda m: m.perplexity, plain, "{:.2f}".format, "", log=True),
    _Measure("Accuracy", lambda m: m.accuracy, "{:.0%}".format, percent, "of next tokens"),
)


def learning(run: RunData) -> Element:
    """Return the section."""
    title = "Learning"
    if not run.measured:
        why = (
            "no version was evaluated; the evaluator was not there, or the run was too short for it"
        )
        return section("learning", title, left_out("Curves are", why))
    by_time, unit_s = time_scale([m.seconds for m in run.measured], "time since the run began")
    by_bytes, unit_bytes = byte_scale([m.bytes_moved for m in run.measured], "bytes moved")
    over_time = (
        _chart(m, run.measured, by_time, [e.seconds / unit_s for e in run.measured], "time")
        for m in _MEASURES
    )
    over_bytes = (
        _chart(
            m, run.measured, by_bytes, [e.bytes_moved / unit_bytes for e in run.measured], "bytes"
        )
        for m in _MEASURES
    )
    return section(
        "learning",
        title,
        paragraph(
            "Measured by the evaluator on the shared validation text, version by version, as each "
            "became known. Bytes are those of all workers, up and down, as they counted them."
        ),
        el("h3", "Over time"),
        el("div", over_time, class_="charts"),
        el("h3", "Over bytes moved"),
        el("div", over_bytes, class_="charts"),
        el("details", el("summary", "The figures as a table"), _figures(run.measured)),
    )


def _chart(
    measure: _Measure, measured: Sequence[Measured], x: Scale, at: Sequence[float], over: str
) -> Element:
    values = [measure.read(m) for m in measured]
    first, last = measure.exact(values[0]), measure.exact(values[-1])
    label = f"{measure.name}, {measure.unit}" if measure.unit else measure.name
    y = Scale(axis_of(values, log=measure.log), label, measure.tick)
    notes = [
        f"version {m.version}, {human_seconds(m.seconds)}, {human_bytes(m.bytes_moved)}: "
        f"{measure.exact(v)}"
        for m, v in zip(measured, values, strict=True)
    ]
    chart = curves(
        [Curve(measure.name, list(zip(at, values, strict=True)), notes)],
        x,
        y,
        summary=f"{label}, over {over}: from {first} (version {measured[0].version}) to {last} "
        f"(version {measured[-1].version}).",
        end=last,
    )
    return figure(f"{label}{' (logarithmic)' if y.axis.log else ''}", chart)


def _figures(measured: Sequence[Measured]) -> Element:
    every = max(1, -(-len(measured) // _MOST_ROWS))
    shown = [m for i, m in enumerate(measured) if (len(measured) - 1 - i) % every == 0]
    caption = "Evaluations" if every == 1 else f"Evaluations, every {every}th"
    return table(
        caption,
        (
            ("version", "number"),
            ("known after", "number"),
            ("bytes moved", "number"),
            ("loss, nats", "number"),
            ("perplexity", "number"),
            ("accuracy", "number"),
        ),
        (
            (
                str(m.version),
                human_seconds(m.seconds),
                human_bytes(m.bytes_moved),
                f"{m.loss_nats:.3f}",
                f"{m.perplexity:,.2f}",
                percent(m.accuracy),
            )
            for m in shown
        ),
    )
