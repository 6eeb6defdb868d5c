"""Puts the page together: every part in its place, in one file that loads nothing else.

No script, no link, no font, no image from elsewhere; the content security policy allows the one
style sheet by its hash and nothing else. The same folder and price give the same bytes.
"""

import base64
import hashlib
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

from commands.report.configuration import configuration
from commands.report.learning import learning
from commands.report.markup import document, el
from commands.report.parts import coded, plural
from commands.report.run_folder import RunData
from commands.report.summary import final_table, header, headline, privacy
from commands.report.timeline import rounds, workers
from commands.report.traffic import cost, traffic
from services import __version__
from services.coordinator.kept.files import METRICS, RESULT

_STYLE: Final = Path(__file__).with_name("page.css")


def page(run: RunData, price_per_gb: float) -> str:
    """Return the report as an HTML document.

    Args:
        price_per_gb: US dollars per 10**9 bytes that leave a cloud.
    """
    style = _STYLE.read_text(encoding="utf-8")
    sections = (
        learning(run),
        rounds(run),
        workers(run),
        traffic(run),
        cost(run, price_per_gb),
        privacy(run),
        final_table(run),
        configuration(run),
    )
    root = el(
        "html",
        _head(run, style),
        el(
            "body",
            header(run),
            _contents(sections),
            el("main", headline(run, price_per_gb), sections),
            _footer(run),
        ),
        lang="en",
    )
    return document(root)


def _head(run: RunData, style: str) -> Element:
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{hashed}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", f"{run.result.run} · crosscloud run report"),
        el("link", rel="icon", href="data:,"),
        el("style", style),
    )


def _contents(sections: tuple[Element, ...]) -> Element:
    links = (
        el("li", el("a", section[0].text or "", href=f"#{section.get('id')}"))
        for section in sections
    )
    return el("nav", el("ul", links), aria_label="Parts of this page")


def _footer(run: RunData) -> Element:
    files = [RESULT, METRICS, *([run.genesis_from] if run.genesis_from else [])]
    torn = ""
    if run.num_torn:
        torn = (
            f" {plural(run.num_torn, 'line')} of {METRICS} ended too early, as a kill or a full "
            "disk leaves them, and stayed out."
        )
    return el(
        "footer",
        el(
            "p",
            coded(
                f"Made by crosscloud {__version__} from {', '.join(f'`{f}`' for f in files)} in "
            ),
            el("code", run.folder),
            f".{torn}",
        ),
    )
