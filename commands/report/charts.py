"""Charts as SVG inside the page: curves, bars, columns, strips. Colours are classes of page.css.

Every chart is as wide as there is room: what has a place along x has it in per cent, what has a
size (text, marks, heights) in pixels, so text stays readable on a phone and lines stay thin on a
desk. No chart needs its colours: curves differ in dashes and marks, too, and each has its figures
in words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from commands.report.axes import Axis
from commands.report.markup import el

_HEIGHT: Final = 170
_WIDE: Final = 1000
_MOST_MARKS: Final = 60
_DASHES: Final = (None, "6 3", "2 3", "9 3 2 3", "4 2", "1 2")
CROSS: Final = "\N{MULTIPLICATION SIGN}"

NUM_STYLES: Final = len(_DASHES)
"""How many curves one chart can tell apart."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One line; `notes` (one per point, or none) show when the pointer rests on its mark."""

    name: str
    points: Sequence[tuple[float, float]]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis with its label and the form of its ticks."""

    axis: Axis
    label: str
    text: Callable[[float], str]


def curves(
    lines: Sequence[Curve],
    x: Scale,
    y: Scale,
    *,
    summary: str,
    end: str = "",
    marks: int = _MOST_MARKS,
) -> Element:
    """Return a chart of at most `NUM_STYLES` lines.

    Args:
        lines: not empty; each has a point.
        summary: the chart in a sentence, for who cannot see it.
        end: text beside the last point of the first line.
        marks: at most about so many on each line.
    """
    svg = _plot(_HEIGHT, summary)
    svg.extend(_levels(y, _HEIGHT))
    svg.extend(_ticks(x, _HEIGHT))
    drawn = el(
        "svg",
        width="100%",
        height=_HEIGHT,
        viewBox=f"0 0 {_WIDE} {_HEIGHT}",
        preserveAspectRatio="none",
    )
    svg.append(drawn)
    for i, line in enumerate(lines):
        at = [(x.axis.at(px), _HEIGHT * (1 - y.axis.at(py))) for px, py in line.points]
        path = " ".join(f"{px * _WIDE:.1f},{py:.1f}" for px, py in at)
        drawn.append(
            el(
                "polyline",
                points=path,
                class_=f"line s{i + 1}",
                stroke_dasharray=_DASHES[i],
                vector_effect="non-scaling-stroke",
            )
        )
        svg.extend(_marks(at, line.notes, i, marks))
        if end and not i:
            svg.append(_end(at, end))
    return el("div", svg, class_="plot")


@dataclass(frozen=True, slots=True)
class Column:
    """One stacked column: (class, value, note) from the bottom."""

    parts: Sequence[tuple[str, float, str]]


def columns(stacks: Sequence[Column], y: Scale, *, summary: str) -> Element:
    """Return stacked columns beside each other; `y` begins at 0."""
    svg = _plot(_HEIGHT, summary)
    svg.extend(_levels(y, _HEIGHT))
    width = 100 / len(stacks)
    for i, stack in enumerate(stacks):
        bottom = float(_HEIGHT)
        for kind, value, note in stack.parts:
            tall = _HEIGHT * y.axis.at(value)
            bottom -= tall
            rect = el(
                "rect",
                el("title", note),
                x=f"{(i + 0.1) * width:.3f}%",
                width=f"{0.8 * width:.3f}%",
                y=bottom,
                height=tall,
                class_=f"part {kind}",
            )
            if tall:
                svg.append(rect)
    svg.append(el("line", x1=0, x2="100%", y1=_HEIGHT, y2=_HEIGHT, class_="floor"))
    return el("div", svg, class_="plot bare")


def legend(names: Sequence[str]) -> Element:
    """Return what the lines of `curves` are called."""
    items = []
    for i, name in enumerate(names):
        swatch = el(
            "svg",
            el(
                "line",
                x1=0,
                y1=7,
                x2=28,
                y2=7,
                class_=f"line s{i + 1}",
                stroke_dasharray=_DASHES[i],
            ),
            _mark("14", 7, i, ""),
            width=28,
            height=14,
            aria_hidden="true",
        )
        items.append(el("li", swatch, name))
    return el("ul", items, class_="legend")


def swatches(names: Sequence[tuple[str, str]]) -> Element:
    """Return a legend of filled areas: (class, name)."""
    items = (
        el(
            "li",
            el("svg", el("rect", width=14, height=14, class_=kind), width=14, height=14,
               aria_hidden="true"),
            name,
        )
        for kind, name in names
    )  # fmt: skip
    return el("ul", items, class_="legend")


def bar(parts: Sequence[tuple[str, float, str]], whole: float, *, summary: str) -> Element:
    """Return a horizontal bar of stacked parts, as wide as there is room.

    Args:
        parts: (class, value, note) from the left.
        whole: the value of the full width, > 0.
    """
    svg = el("svg", class_="bar", role="img", aria_label=summary, width="100%", height=18)
    left = 0.0
    for kind, value, note in parts:
        width = 100 * value / whole
        rect = el(
            "rect", x=f"{left:.3f}%", y=0, width=f"{width:.3f}%", height=18, class_=f"part {kind}"
        )
        rect.append(el("title", note))
        svg.append(rect)
        left += width
    return svg


@dataclass(frozen=True, slots=True)
class Cell:
    """A piece of a strip.

    Args:
        left, right: in [0, 1].
        height: in [0, 1], from the bottom.
        opacity: in [0, 1].
        crossed: with an X on it: something went wrong here.
    """

    left: float
    right: float
    kind: str
    note: str
    height: float = 1.0
    opacity: float = 1.0
    crossed: bool = False


def strip(cells: Sequence[Cell], *, summary: str) -> Element:
    """Return cells along one line, as wide as there is room."""
    height = 20
    svg = el("svg", class_="strip", role="img", aria_label=summary, width="100%", height=height)
    svg.append(el("line", x1="0", x2="100%", y1=height - 0.5, y2=height - 0.5, class_="floor"))
    for cell in cells:
        tall = max(2.0, cell.height * height)
        rect = el(
            "rect",
            x=f"{100 * cell.left:.3f}%",
            width=f"{100 * (cell.right - cell.left):.3f}%",
            y=height - tall,
            height=tall,
            class_=f"cell {cell.kind}",
            fill_opacity=None if cell.opacity == 1 else cell.opacity,
        )
        rect.append(el("title", cell.note))
        svg.append(rect)
        if cell.crossed:
            middle = f"{50 * (cell.left + cell.right):.3f}%"
            svg.append(
                el("text", CROSS, x=middle, y=height - 5, class_="crossed", aria_hidden="true")
            )
    return svg


def ruler(x: Scale) -> Element:
    """Return the ticks below strips."""
    svg = el("svg", class_="ruler", width="100%", height=34, aria_hidden="true")
    for tick in x.axis.ticks(6):
        at = f"{100 * x.axis.at(tick):.2f}%"
        anchor = "start" if tick == x.axis.low else "middle"
        svg.append(el("line", x1=at, x2=at, y1=0, y2=5, class_="tick"))
        svg.append(
            el(
                "text",
                x.text(tick),
                x=at,
                y=17,
                text_anchor=anchor,
            )
        )
    svg.append(
        el(
            "text",
            x.label,
            x="50%",
            y=31,
            text_anchor="middle",
        )
    )
    return svg


def _plot(height: int, summary: str) -> Element:
    return el("svg", width="100%", height=height, role="img", aria_label=summary)


def _levels(y: Scale, height: int) -> list[Element]:
    parts = []
    for tick in y.axis.ticks(5):
        at = height * (1 - y.axis.at(tick))
        parts.append(el("line", x1=0, x2="100%", y1=at, y2=at, class_="grid"))
        parts.append(el("text", y.text(tick), x=-7, y=at + 4, text_anchor="end"))
    return parts


def _ticks(x: Scale, height: int) -> list[Element]:
    parts = [el("line", x1=0, x2="100%", y1=height, y2=height, class_="floor")]
    for tick in x.axis.ticks(6):
        at = f"{100 * x.axis.at(tick):.2f}%"
        parts.append(el("line", x1=at, x2=at, y1=height, y2=height + 4, class_="tick"))
        parts.append(el("text", x.text(tick), x=at, y=height + 17, text_anchor="middle"))
    parts.append(el("text", x.label, x="50%", y=height + 33, text_anchor="middle"))
    return parts


def _marks(
    at: Sequence[tuple[float, float]], notes: Sequence[str], style: int, most: int
) -> list[Element]:
    """Mark some of the points, the last one always; its note is on each mark."""
    every = max(1, -(-len(at) // most))
    return [
        _mark(f"{100 * at[i][0]:.2f}%", at[i][1], style, notes[i] if i < len(notes) else "")
        for i in range((len(at) - 1) % every, len(at), every)
    ]


_R: Final = 2.6
_SHAPES: Final = (
    "",  # a circle
    f"M{-_R} {-_R}h{2 * _R}v{2 * _R}h{-2 * _R}z",
    f"M0 {-_R - 1}l{_R + 1} {2 * _R + 1}h{-2 * _R - 2}z",
    f"M0 {-_R - 1}l{_R + 1} {_R + 1}l{-_R - 1} {_R + 1}l{-_R - 1} {-_R - 1}z",
    f"M{-_R} {-_R}l{2 * _R} {2 * _R}m0 {-2 * _R}l{-2 * _R} {2 * _R}",
    f"M0 {-_R - 1}v{2 * _R + 2}",
)


def _mark(x: str, y: float, style: int, note: str) -> Element:
    kind = f"mark s{style + 1}"
    title = el("title", note) if note else None
    if not _SHAPES[style]:
        return el("circle", title, cx=x, cy=y, r=_R, class_=kind)
    return el("svg", el("path", title, d=_SHAPES[style], class_=kind), x=x, y=y, overflow="visible")


def _end(at: Sequence[tuple[float, float]], text: str) -> Element:
    """Write beside the last point, on the side from which the line does not come."""
    y = at[-1][1]
    falls = len(at) > 1 and at[0][1] < y
    below = falls and y + 22 < _HEIGHT
    x = f"{100 * at[-1][0]:.2f}%"
    return el("text", text, x=x, y=y + 19 if below else y - 9, text_anchor="end", class_="end")
