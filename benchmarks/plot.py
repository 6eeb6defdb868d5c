"""A scatter plot as SVG, by hand: points and lines over a logarithmic axis, nothing else."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from commands.report.axes import linear_ticks, log_ticks

_WIDTH, _HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 52
_COLOURS: Final = (
    *("#1b6ca8", "#c8553d", "#3c8d40", "#8e5aa8", "#b8860b", "#4a4a4a"),
    *("#d0679d", "#2aa198", "#7a4a1e", "#5b6fd8", "#8aa61b", "#a01f4d"),
)


@dataclass(frozen=True, slots=True)
class Point:
    """One result: `x` > 0. An exploratory one is drawn hollow."""

    x: float
    y: float
    label: str = ""
    exploratory: bool = False


@dataclass(frozen=True, slots=True)
class Level:
    """A horizontal line with a word on it."""

    y: float
    label: str


def scatter(
    families: Mapping[str, Sequence[Point]],
    levels: Sequence[Level],
    *,
    title: str,
    x_label: str,
    y_label: str,
) -> str:
    """Return an SVG document.

    Args:
        families: points by name; each family has a colour, and a line through its points.
        levels: drawn dashed across the plot.
    """
    points = [p for family in families.values() for p in family]
    xs, ys = [p.x for p in points], [p.y for p in points] + [level.y for level in levels]
    frame = _Frame(min(xs), max(xs), min(ys), max(ys))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_WIDTH / 2, 20, title, "middle", size=14),
        _text(_WIDTH / 2, _HEIGHT - 10, x_label, "middle"),
        f'<g transform="translate(16,{_HEIGHT / 2}) rotate(-90)">{_text(0, 0, y_label, "middle")}'
        "</g>",
        *frame.axes(),
    ]
    for level in levels:
        y = frame.y(level.y)
        parts.append(_line(_LEFT, y, _WIDTH - _RIGHT, y, "#888", dashed=True))
        parts.append(_text(_LEFT + 4, y - 4, level.label, "start", colour="#555"))
    for i, (name, family) in enumerate(families.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        parts += _family(frame, family, colour)
        parts.append(_text(_WIDTH - _RIGHT, _TOP + 16 * i, name, "end", colour=colour))
    return "\n".join((*parts, "</svg>", ""))


class _Frame:
    """Where values lie on the page: x logarithmic, y linear with a margin."""

    def __init__(self, x_min: float, x_max: float, y_min: float, y_max: float) -> None:
        self._x = (math.log10(x_min) - 0.1, math.log10(x_max) + 0.1)
        margin = 0.06 * (y_max - y_min) or 0.05
        self._y = (y_min - margin, y_max + margin)

    def x(self, value: float) -> float:
        low, high = self._x
        part = (math.log10(value) - low) / (high - low)
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y
        part = (value - low) / (high - low)
        return _HEIGHT - _BOTTOM - part * (_HEIGHT - _TOP - _BOTTOM)

    def axes(self) -> list[str]:
        bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
        parts = [
            _line(_LEFT, bottom, right, bottom, "#333"),
            _line(_LEFT, _TOP, _LEFT, bottom, "#333"),
        ]
        for x in log_ticks(10 ** self._x[0], 10 ** self._x[1]):
            at = self.x(x)
            parts += [_line(at, bottom, at, bottom + 5, "#333")]
            parts.append(_text(at, bottom + 18, f"{x:,.0f}", "middle"))
        for y in linear_ticks(*self._y):
            at = self.y(y)
            parts += [_line(_LEFT - 5, at, _LEFT, at, "#333")]
            parts.append(_text(_LEFT - 8, at + 4, f"{y:.2f}", "end"))
        return parts


def _family(frame: _Frame, family: Sequence[Point], colour: str) -> list[str]:
    ordered = sorted(family, key=lambda p: p.x)
    path = " ".join(f"{frame.x(p.x):.1f},{frame.y(p.y):.1f}" for p in ordered)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-opacity="0.5"/>']
    for p in ordered:
        x, y = frame.x(p.x), frame.y(p.y)
        fill = "white" if p.exploratory else colour
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{colour}"/>')
        if p.label:
            parts.append(_text(x + 6, y - 6, p.label, "start", colour=colour, size=10))
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, dashed: bool = False) -> str:
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{dashes}/>'
    )


def _text(
    x: float, y: float, text: str, anchor: str, *, colour: str = "#222", size: int = 12
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
        f'font-size="{size}">{escape(text)}</text>'
    )
