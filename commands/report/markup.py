"""Builds the page as a tree: every text and attribute is escaped by the one serialiser.

There is no way to put markup in as text: who wants an element makes one with `el`. The serialiser
is the standard library's; what it lets pass and a browser may not (control characters, halves of
characters, marks that turn the direction of text) is replaced here.
"""

from collections.abc import Iterable
from typing import Final
from xml.etree.ElementTree import Element, tostring

from common.text import UNPRINTABLE

_LAYOUT: Final = "\t\n"

Child = Element | str | None
Attribute = str | float | int | None


def el(tag: str, *children: Child | Iterable[Child], **attributes: Attribute) -> Element:
    """Return an element.

    Args:
        tag: a constant of ours, never from a file.
        children: texts and elements, or iterables of them; None is left out.
        attributes: by name; `_` stands for `-`, a trailing `_` is dropped, None is left out.
            Numbers are written with at most two decimals.
    """
    element = Element(tag)
    for name, value in attributes.items():
        if value is not None:
            element.set(name.rstrip("_").replace("_", "-"), _written(value))
    for child in children:
        if isinstance(child, Element | str) or child is None:
            _append(element, child)
        else:
            for one in child:
                _append(element, one)
    return element


def clean(text: str) -> str:
    """Return `text` with U+FFFD for every character that has no place on a page."""
    return UNPRINTABLE.sub(lambda m: m[0] if m[0] in _LAYOUT else "\ufffd", text)


def document(root: Element) -> str:
    """Return the page: a doctype and the tree."""
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def _append(element: Element, child: Child) -> None:
    if child is None:
        return
    if isinstance(child, Element):
        element.append(child)
    elif len(element):
        element[-1].tail = (element[-1].tail or "") + clean(child)
    else:
        element.text = (element.text or "") + clean(child)


def _written(value: str | float) -> str:
    if isinstance(value, str):
        return clean(value)
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
