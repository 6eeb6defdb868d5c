"""What sections of the page are built from: headings, tables, tiles, words on what is missing."""

from collections.abc import Iterable, Sequence
from typing import Final
from xml.etree.ElementTree import Element

from commands.report.axes import axis_of
from commands.report.charts import Scale
from commands.report.markup import Child, el
from services.observe.amounts import human_bytes, human_seconds

_UNITS_S: Final = ((1, "s"), (60, "min"), (3600, "h"), (86400, "days"))


def section(name: str, title: str, *children: Child | Iterable[Child]) -> Element:
    """Return a section with its heading; `name` is its anchor."""
    heading = f"{name}-title"
    return el("section", el("h2", title, id=heading), *children, id=name, aria_labelledby=heading)


def paragraph(*children: Child, kind: str | None = None) -> Element:
    """Return a paragraph."""
    return el("p", *children, class_=kind)


def left_out(what: str, why: str) -> Element:
    """Say that a part is not here, and why."""
    return el("p", el("strong", f"{what} left out: "), why, class_="left-out")


def figure(title: str, *children: Child | Iterable[Child], wide: bool = False) -> Element:
    """Return a chart with its caption above."""
    caption = el("figcaption", title)
    return el("figure", caption, *children, class_="wide" if wide else None)


def tile(label: str, value: str, note: str) -> Element:
    """Return one headline figure."""
    return el(
        "div",
        el("dt", label),
        el("dd", el("span", value, class_="value"), el("span", note, class_="note")),
        class_="tile",
    )


def table(
    caption: str,
    columns: Sequence[tuple[str, str]],
    rows: Iterable[Sequence[Child]],
    *,
    foot: Sequence[Child] = (),
    narrow: bool = False,
) -> Element:
    """Return a table in a box of its own that scrolls where the page is narrower.

    Args:
        caption: what it holds.
        columns: (heading, class): class "number" is set to the right.
        rows: cells; the first of each is its heading.
        foot: the last row, if any.
        narrow: few columns, which are not to be drawn apart.
    """
    head = el("tr", (el("th", name, scope="col", class_=kind or None) for name, kind in columns))
    kinds = [kind or None for _, kind in columns]
    whole = el("table", el("caption", caption), el("thead", head))
    whole.append(el("tbody", (_row(cells, kinds) for cells in rows)))
    if foot:
        whole.append(el("tfoot", _row(foot, kinds)))
    kind = "scroll narrow" if narrow else "scroll"
    return el("div", whole, class_=kind, role="region", aria_label=caption, tabindex=0)


def _row(cells: Sequence[Child], kinds: Sequence[str | None]) -> Element:
    first, *rest = zip(cells, kinds, strict=True)
    return el(
        "tr",
        el("th", first[0], scope="row", class_=first[1]),
        (el("td", cell, class_=kind) for cell, kind in rest),
    )


def listing(sentences: Iterable[str]) -> Element:
    """Return sentences as a list; what stands between backquotes is set as code."""
    return el("ul", (el("li", coded(s)) for s in sentences))


def coded(sentence: str) -> Iterable[Child]:
    """Return a sentence with what stands between backquotes as code."""
    return [
        el("code", part) if i % 2 else part for i, part in enumerate(sentence.split("`")) if part
    ]


def time_scale(seconds: Sequence[float], label: str = "time") -> tuple[Scale, float]:
    """Return the axis of the run's time in its largest fitting unit, and seconds per unit."""
    longest = max(seconds, default=0.0)
    unit_s, unit = next(
        ((s, name) for s, name in reversed(_UNITS_S) if longest >= 2 * s), _UNITS_S[0]
    )
    axis = axis_of([s / unit_s for s in seconds], from_zero=True, room=False)
    return Scale(axis, f"{label}, {unit}", plain), float(unit_s)


def byte_scale(sizes: Sequence[int], label: str) -> tuple[Scale, float]:
    """Return an axis of bytes in one decimal unit, and bytes per unit."""
    text = human_bytes(max(sizes, default=0))
    unit = text.split()[-1]
    per_unit = 1000.0 ** ("B", "kB", "MB", "GB", "TB", "PB", "EB").index(unit)
    axis = axis_of([s / per_unit for s in sizes], from_zero=True, room=False)
    return Scale(axis, f"{label}, {unit}", plain), per_unit


def plain(value: float) -> str:
    """Return a tick's value without a tail of zeros."""
    return f"{value:,.10g}" if value == 0 or abs(value) >= 0.001 else f"{value:.1e}"


def percent(share: float) -> str:
    """Return a share as per cent with one decimal."""
    return f"{share:.1%}"


def count(number: int) -> str:
    """Return a count with separators."""
    return f"{number:,}"


def plural(number: int, word: str) -> str:
    """Return "1 round", "2 rounds"."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def at(seconds: float) -> str:
    """Return an instant of the run."""
    return f"at {human_seconds(seconds)}"
