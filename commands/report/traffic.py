"""The page on what the run moved: by kind, by worker, against float32 FedAvg, and its cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from commands.report.axes import axis_of
from commands.report.charts import Curve, Scale, bar, curves, legend, swatches
from commands.report.markup import Child, el
from commands.report.parts import (
    byte_scale,
    figure,
    left_out,
    paragraph,
    percent,
    section,
    table,
    time_scale,
)
from commands.report.run_folder import RunData, WorkerResult
from services.observe.amounts import human_bytes, human_dollars
from services.wire.traffic import KINDS

SHOWN: Final = {
    "update": ("s1", "updates"),
    "aggregate": ("s2", "sums"),
    "version": ("s3", "whole versions"),
    "control": ("s4", "control"),
}
"""Class and name of each kind of bytes that workers count, in the order of the bars."""

_OTHER: Final = ("s6", "other")
_UNKNOWN: Final = "a kind that this version of the report does not know"
_MOST_WORKERS: Final = 40
_GB: Final = 1e9


def traffic(run: RunData) -> Element:
    """Return the section on bytes."""
    result = run.result
    moved, fedavg = result.bytes_moved, result.bytes_float32_fedavg
    if not moved:
        return section("bytes", "Bytes", left_out("Bytes are", "no worker reported any"))
    whole = float(max(moved, fedavg, sum(result.bytes_by_kind.values())))
    bars = [("This run", _stacked(result.bytes_by_kind, whole, moved), human_bytes(moved))]
    if fedavg:
        note = f"float32 FedAvg: {human_bytes(fedavg)}"
        bars.append(
            ("float32 FedAvg", bar([("plain", fedavg, note)], whole, summary=note),
             human_bytes(fedavg))
        )  # fmt: skip
    return section(
        "bytes",
        "Bytes",
        paragraph(
            "All bytes on the wire of the workers, up and down, control traffic too, as they "
            "counted them. ",
            _against(moved, fedavg),
        ),
        figure("This run against float32 FedAvg", _bars(bars), _legend(), wide=True),
        _over_time(run),
        _by_kind(run),
        _by_worker(result.workers),
    )  # fmt: skip


def cost(run: RunData, price_per_gb: float) -> Element:
    """Return the section on money: what leaves a cloud is paid for by that cloud."""
    result = run.result
    rows: list[Sequence[Child]] = [
        (name, human_bytes(w.bytes_sent), price(w.bytes_sent, price_per_gb))
        for name, w in sorted(result.workers.items())
    ]
    down = result.bytes_down
    rows.append(("coordinator's cloud", human_bytes(down), price(down, price_per_gb)))
    moved, fedavg = result.bytes_moved, result.bytes_float32_fedavg
    each = ""
    if result.versions:
        per_thousand = price(moved * 1000 // result.versions, price_per_gb)
        each = f" At this rate a thousand versions cost {per_thousand}."
    return section(
        "cost",
        "Cost of egress",
        paragraph(
            f"At ${price_per_gb:g} per GB (10⁹ bytes) for whatever leaves a cloud, this run's "
            f"traffic costs ",
            el("strong", price(moved, price_per_gb)),
            f"; float32 FedAvg's would cost {price(fedavg, price_per_gb)}." if fedavg else ".",
            each,
        ),
        paragraph(
            "The price is one number for all (",
            el("code", "--price-per-gb"),
            "); contracts, regions and private links differ. Traffic into a cloud is taken to be "
            "free. Compute is not counted.",
            kind="small",
        ),
        table(
            "Egress by who pays",
            (("cloud", ""), ("bytes out", "number"), ("cost", "number")),
            rows,
            foot=("all", human_bytes(moved), price(moved, price_per_gb)),
            narrow=True,
        ),
    )


def saved_share(moved: int, fedavg: int) -> float | None:
    """Return what share of float32 FedAvg's bytes was not moved; None where there is none."""
    return 1 - moved / fedavg if fedavg else None


def _against(moved: int, fedavg: int) -> str:
    saved = saved_share(moved, fedavg)
    if saved is None:
        return "No version was committed, so there is nothing to compare with."
    than = f"{abs(saved):.0%} {'fewer' if saved >= 0 else 'more'}"
    return (
        f"That is {than} than float32 FedAvg, which moves every parameter as float32 up and down "
        "for each contribution."
    )


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of bytes, both ways."""

    kind: str
    up: int
    down: int

    @property
    def both(self) -> int:
        return self.up + self.down

    @property
    def style(self) -> str:
        return SHOWN.get(self.kind, _OTHER)[0]

    @property
    def name(self) -> str:
        return SHOWN[self.kind][1] if self.kind in SHOWN else self.kind


def _kinds(by_kind: Mapping[str, int]) -> list[_Kind]:
    """Return kinds in the order of the bars, from names such as "up_update"."""
    up, down = Counter[str](), Counter[str]()
    for name, num_bytes in by_kind.items():
        way, _, kind = name.partition("_")
        if way == "down" and kind:
            down[kind] += num_bytes
        else:
            up[kind if way == "up" and kind else name] += num_bytes
    order = {kind: i for i, kind in enumerate(SHOWN)}
    names = sorted(up.keys() | down.keys(), key=lambda k: (order.get(k, len(order)), k))
    return [_Kind(name, up[name], down[name]) for name in names]


def _stacked(by_kind: Mapping[str, int], whole: float, moved: int) -> Element:
    kinds = _kinds(by_kind)
    parts = [(k.style, float(k.both), f"{k.name}: {human_bytes(k.both)}") for k in kinds]
    rest = moved - sum(k.both for k in kinds)
    if rest > 0:
        parts.append((_OTHER[0], float(rest), f"other: {human_bytes(rest)}"))
    said = ", ".join(f"{k.name} {human_bytes(k.both)}" for k in kinds)
    return bar(parts, whole, summary=f"{human_bytes(moved)}: {said}.")


def _by_kind(run: RunData) -> Element:
    result = run.result
    raw = result.float32_bytes_by_kind
    stands_for = {} if raw is None else {k.kind: k.both for k in _kinds(raw)}
    rows: list[Sequence[Child]] = [
        (
            k.name,
            human_bytes(k.up),
            human_bytes(k.down),
            percent(k.both / result.bytes_moved),
            _per(k.both, result.versions),
            *([] if raw is None else _as_float32(k.both, stands_for.get(k.kind, 0))),
            KINDS.get(k.kind, _UNKNOWN),
        )
        for k in _kinds(result.bytes_by_kind)
    ]
    names = ["up", "down", "share", "per version"]
    foot = [
        human_bytes(result.bytes_up),
        human_bytes(result.bytes_down),
        percent(1),
        _per(result.bytes_moved, result.versions),
    ]
    if raw is not None:
        names += ["as float32", "saved"]
        foot += _as_float32(result.bytes_moved, sum(stands_for.values()))
    return table(
        "Bytes by kind",
        (("kind", ""), *((name, "number") for name in names), ("what", "words")),
        rows,
        foot=("all", *foot, ""),
    )


def _as_float32(num_bytes: int, stands_for: int) -> list[str]:
    """Return what the content would be as float32, and how much less was moved."""
    if not stands_for:
        return ["-", "-"]
    return [human_bytes(stands_for), f"{1 - num_bytes / stands_for:.0%}"]


def _per(num_bytes: int, versions: int) -> str:
    return human_bytes(num_bytes // versions) if versions else "-"


def _bars(rows: Sequence[tuple[str, Element, str]]) -> Element:
    return el(
        "div",
        (
            el(
                "div",
                el("span", name, class_="bar-name", title=name),
                drawn,
                el("span", value, class_="bar-value"),
                class_="bar-row",
            )
            for name, drawn, value in rows
        ),
        class_="bars",
    )


def _legend() -> Element:
    return swatches([(kind, name) for kind, name in SHOWN.values()])


def _over_time(run: RunData) -> Element | None:
    if len(run.traffic) < 2:
        return None
    x, unit_s = time_scale([t.seconds for t in run.traffic], "time since the run began")
    most = max(max(t.bytes_moved, t.bytes_float32_fedavg) for t in run.traffic)
    scale, unit_bytes = byte_scale([most], "")
    unit = scale.label.removeprefix(", ")
    lines = [
        Curve("this run", [(t.seconds / unit_s, t.bytes_moved / unit_bytes) for t in run.traffic]),
        Curve(
            "float32 FedAvg",
            [(t.seconds / unit_s, t.bytes_float32_fedavg / unit_bytes) for t in run.traffic],
        ),
    ]
    y = Scale(axis_of([0.0, most / unit_bytes], from_zero=True), unit, scale.text)
    chart = curves(
        lines,
        x,
        y,
        summary=f"Bytes moved over time, in {unit}: this run "
        f"{human_bytes(run.result.bytes_moved)}, float32 FedAvg "
        f"{human_bytes(run.result.bytes_float32_fedavg)} at the end.",
        marks=12,
    )
    return figure(
        f"Bytes moved over time, {unit}", chart, legend([line.name for line in lines]), wide=True
    )


def _by_worker(workers: Mapping[str, WorkerResult]) -> Element | None:
    if not workers:
        return None
    names = sorted(workers)[:_MOST_WORKERS]
    most = float(max(1, *(max(_moved(w), _known(w)) for w in workers.values())))
    rows = []
    for name in names:
        w = workers[name]
        moved = _moved(w)
        if w.bytes_by_kind is not None:
            drawn = _stacked(w.bytes_by_kind, most, moved)
        else:
            sent, received = human_bytes(w.bytes_sent), human_bytes(w.bytes_received)
            drawn = bar(
                [
                    ("s1", w.bytes_sent, f"up: {sent}"),
                    ("s2", w.bytes_received, f"down: {received}"),
                ],
                most,
                summary=f"{sent} up, {received} down",
            )
        rows.append((name, drawn, human_bytes(moved)))
    known = all(w.bytes_by_kind is not None for w in workers.values())
    some = "" if len(names) == len(workers) else f", the first {len(names)} of {len(workers)}"
    return el(
        "div",
        figure(
            f"Bytes by worker{' and kind' if known else ''}{some}",
            _bars(rows),
            _legend() if known else swatches((("s1", "up"), ("s2", "down"))),
            wide=True,
        ),
        None
        if known
        else left_out(
            "Kinds by worker are",
            "the coordinator that wrote result.json did not record them yet",
        ),
    )


def _moved(worker: WorkerResult) -> int:
    return worker.bytes_sent + worker.bytes_received


def _known(worker: WorkerResult) -> int:
    return sum((worker.bytes_by_kind or {}).values())


def price(num_bytes: int, price_per_gb: float) -> str:
    """Return what so many bytes cost, as text."""
    return human_dollars(num_bytes / _GB * price_per_gb)
