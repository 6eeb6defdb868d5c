"""Charts as SVG inside the page: curves, bars, strips. Colours are classes of the style sheet.

Curves have a view box as wide as a phone, so that their text is readable there, and stand beside
each other where there is room. Bars and strips are laid out in per cent, with text in pixels.
No chart needs its colours: curves differ in dashes and marks, too, and each has its figures in words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from services.report.axes import Axis
from services.report.markup import el

_WIDTH, _HEIGHT = 360, 224
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 12, 40
_MOST_MARKS: Final = 60
_DASHES: Final = (None, "6 3", "2 3", "9 3 2 3", "4 2", "1 2")
_MARKS: Final = ("circle", "square", "triangle", "diamond", "cross", "bar")

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
    svg = el(
        "svg", viewBox=f"0 0 {_WIDTH} {_HEIGHT}", class_="chart", role="img", aria_label=summary
    )
    svg.extend(_axes(x, y))
    for i, line in enumerate(lines):
        at = [(_x(x, px), _y(y, py)) for px, py in line.points]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in at)
        svg.append(
            el("polyline", points=path, class_=f"line s{i + 1}", stroke_dasharray=_DASHES[i])
        )
        svg.extend(_marks(at, line.notes, i, marks))
    if end:
        svg.append(_end(lines[0], x, y, end))
    return svg


def legend(names: Sequence[str]) -> Element:
    """Return what the lines of `curves` are called."""
    items = []
    for i, name in enumerate(names):
        swatch = el(
            "svg",
            el("line", x1=0, y1=7, x2=28, y2=7, class_=f"line s{i + 1}", stroke_dasharray=_DASHES[i]),
            _mark(14, 7, i, ""),
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


def strip(cells: Sequence[Cell], *, summary: str, height: int = 20) -> Element:
    """Return cells along one line, as wide as there is room."""
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
            svg.append(el("text", "×", x=middle, y=height - 5, class_="crossed", aria_hidden="true"))
    return svg


def ruler(x: Scale) -> Element:
    """Return the ticks below strips."""
    svg = el("svg", class_="ruler", width="100%", height=34, aria_hidden="true")
    for tick in x.axis.ticks(6):
        at = f"{100 * x.axis.at(tick):.2f}%"
        anchor = "start" if tick == x.axis.low else "middle"
        svg.append(el("line", x1=at, x2=at, y1=0, y2=5, class_="tick"))
        svg.append(el("text", x.text(tick), x=at, y=17, text_anchor=anchor, class_="axis"))
    svg.append(el("text", x.label, x="50%", y=31, text_anchor="middle", class_="axis"))
    return svg


def _x(scale: Scale, value: float) -> float:
    return _LEFT + scale.axis.at(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(scale: Scale, value: float) -> float:
    return _HEIGHT - _BOTTOM - scale.axis.at(value) * (_HEIGHT - _TOP - _BOTTOM)


def _axes(x: Scale, y: Scale) -> list[Element]:
    floor, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick in y.axis.ticks(5):
        at = _y(y, tick)
        parts.append(el("line", x1=_LEFT, y1=at, x2=right, y2=at, class_="grid"))
        parts.append(
            el("text", y.text(tick), x=_LEFT - 6, y=at + 4, text_anchor="end", class_="axis")
        )
    parts.append(el("line", x1=_LEFT, y1=floor, x2=right, y2=floor, class_="floor"))
    for tick in x.axis.ticks(5):
        at = _x(x, tick)
        parts.append(el("line", x1=at, y1=floor, x2=at, y2=floor + 4, class_="tick"))
        parts.append(
            el("text", x.text(tick), x=at, y=floor + 17, text_anchor="middle", class_="axis")
        )
    middle = (_LEFT + right) / 2
    parts.append(
        el("text", x.label, x=middle, y=_HEIGHT - 6, text_anchor="middle", class_="axis")
    )
    return parts


def _marks(
    at: Sequence[tuple[float, float]], notes: Sequence[str], style: int, most: int
) -> list[Element]:
    """Mark some of the points, the last one always; its note is on each mark."""
    every = max(1, -(-len(at) // most))
    marks = []
    for i in range((len(at) - 1) % every, len(at), every):
        marks.append(_mark(*at[i], style, notes[i] if i < len(notes) else ""))
    return marks


def _mark(x: float, y: float, style: int, note: str) -> Element:
    r = 2.6
    paths = {
        "square": f"M{x - r:.1f} {y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}z",
        "triangle": f"M{x:.1f} {y - r - 1:.1f}l{r + 1} {2 * r}h{-2 * r - 2}z",
        "diamond": f"M{x:.1f} {y - r - 1:.1f}l{r + 1} {r + 1}l{-r - 1} {r + 1}l{-r - 1} {-r - 1}z",
        "cross": f"M{x - r:.1f} {y - r:.1f}l{2 * r} {2 * r}m0 {-2 * r}l{-2 * r} {2 * r}",
        "bar": f"M{x:.1f} {y - r - 1:.1f}v{2 * r + 2}",
    }
    shape = _MARKS[style]
    kind = f"mark s{style + 1}"
    if shape == "circle":
        mark = el("circle", cx=x, cy=y, r=r, class_=kind)
    else:
        mark = el("path", d=paths[shape], class_=kind)
    if note:
        mark.append(el("title", note))
    return mark


def _end(line: Curve, x: Scale, y: Scale, text: str) -> Element:
    px, py = line.points[-1]
    at = _y(y, py)
    below = at + 18 < _HEIGHT - _BOTTOM - 2
    return el(
        "text",
        text,
        x=_x(x, px) + 2,
        y=at + 18 if below else at - 9,
        text_anchor="end",
        class_="end",
    )
