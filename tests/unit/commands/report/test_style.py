"""Contrast of the style sheet's colours, by WCAG 2.2's formula: text 4.5, graphics 3."""

import re
from pathlib import Path

import pytest

import commands.report.page

STYLE = Path(commands.report.page.__file__).with_name("page.css").read_text()
TEXTS = ("text", "muted", "accent", "loud")
GRAPHICS = ("s1", "s2", "s3", "s4", "s5", "s6", "ok", "bad", "plain", "accent")


def colours(scheme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    if scheme == "dark":
        found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark))
    return found


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable(scheme):
    found = colours(scheme)
    for ground in ("page", "surface"):
        for name in TEXTS:
            assert contrast(found[name], found[ground]) >= 4.5, (name, ground)
    assert contrast(found["text"], found["loud-soft"]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_graphics_stand_out(scheme):
    found = colours(scheme)
    for name in GRAPHICS:
        assert contrast(found[name], found["surface"]) >= 3, name


def test_both_schemes_have_every_colour():
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    assert set(re.findall(r"--[\w-]+:", light)) == set(re.findall(r"--[\w-]+:", dark))
