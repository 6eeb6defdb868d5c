"""Every link of the pages leads to a file that is there, and to a heading that it has."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, prose

LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
WITH_LINKS = (*PAGES, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs/adr").glob("*.md")))


def anchors(page: Path) -> set[str]:
    """Return what headings are called in links, as GitHub makes it of them."""
    headings = re.findall(r"(?m)^#+ (.*)$", prose(page))
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", WITH_LINKS, ids=lambda p: p.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, anchor in LINK.findall(prose(page)):
        if path.startswith("http"):
            continue
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {path}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {path}#{anchor}"
