"""The report in a real browser: at a phone's width and a desk's, in both colour schemes.

Any Chromium will do; without one these tests are skipped.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.report.main import write_report
from tests.rig.browser import Browser, View, browser
from tests.rig.rounds.made_up_run import write_run

pytestmark = pytest.mark.program("chromium")
VIEWS = [View(width, scheme) for width in (360, 1280) for scheme in ("light", "dark")]
HOSTILE = (
    "a-worker-whose-name-is-as-long-as-names-may-be-sixty-three-char",
    "<script>document.title='taken'</script>",
    "<img src=x onerror=document.title='taken'>",
    "x" * 300,
)
COLOURS = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
TOO_SMALL = """
[...document.querySelectorAll('body *')].filter(e => e.textContent.trim() && !e.children.length
  && e.tagName !== 'TITLE' && e.tagName !== 'STYLE' && e.getClientRects().length
  && parseFloat(getComputedStyle(e).fontSize) < 11).map(e => e.outerHTML)
"""
CUT_OFF = """
[...document.querySelectorAll('svg text')].filter(e => {
  const r = e.getBoundingClientRect();
  return r.left < 0 || r.right > document.documentElement.clientWidth;
}).map(e => e.outerHTML)
"""
OVERLAPPING = """
[...document.querySelectorAll('.plot > svg, .ruler')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll(':scope > text:not(.end)')]
    .map(e => [e.textContent, e.getBoundingClientRect()]);
  return boxes.flatMap(([a, p], i) => boxes.slice(i + 1).filter(([, q]) =>
    p.left < q.right && q.left < p.right && p.top + 2 < q.bottom && q.top + 2 < p.bottom)
    .map(([b]) => a + ' | ' + b));
})
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module", params=["usual", "old", "hostile", "long"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp(request.param) / "demo"
    match request.param:
        case "usual":
            write_run(folder)
        case "old":
            write_run(folder, old=True)
        case "hostile":
            write_run(folder, workers=HOSTILE, run=HOSTILE[1], tier="tls")
        case "long":
            write_run(folder, num_rounds=700, workers=[f"cloud-{i}" for i in range(30)])
    return write_report(folder, price_per_gb=0.09).as_uri()


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: f"{v.width}-{v.scheme}")
def test_the_page_fits_complains_of_nothing_and_asks_nobody(
    running: Browser, url: str, view: View
) -> None:
    with running.open(url, view) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == view.width
        assert page.evaluate("document.documentElement.scrollHeight") > view.height
        assert page.evaluate("document.querySelectorAll('section').length") == 9
        assert page.evaluate(TOO_SMALL) == []
        assert page.evaluate(CUT_OFF) == []
        assert page.evaluate(OVERLAPPING) == []
        assert page.evaluate("document.title") != "taken"
        assert page.screenshot().startswith(b"\x89PNG")
        assert page.complaints == []
        assert page.requests == [url]


def test_the_colour_schemes_differ(running: Browser, tmp_path: Path) -> None:
    url = write_report(write_run(tmp_path / "demo"), price_per_gb=0.09).as_uri()
    seen = []
    for scheme in ("light", "dark"):
        with running.open(url, View(1280, scheme)) as page:
            seen.append(page.evaluate(COLOURS))
    assert seen == [
        ["rgb(246, 247, 249)", "rgb(26, 31, 38)"],
        ["rgb(14, 18, 23)", "rgb(231, 235, 240)"],
    ]


def test_what_the_policy_forbids_is_forbidden(running: Browser, tmp_path: Path) -> None:
    """A page into which somebody had written a script would complain, and not run it."""
    path = write_report(write_run(tmp_path / "demo"), price_per_gb=0.09)
    path.write_text(path.read_text().replace("<main>", "<main><script>window.ran = 1</script>"))
    with running.open(path.as_uri(), View(1280)) as page:
        assert page.evaluate("window.ran === undefined")
        assert any("Content Security Policy" in c for c in page.complaints)


def test_a_table_scrolls_in_its_own_box(running: Browser, tmp_path: Path) -> None:
    url = write_report(write_run(tmp_path / "demo"), price_per_gb=0.09).as_uri()
    with running.open(url, View(360)) as page:
        wide = (
            "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)"
        )
        assert page.evaluate(f"{wide}.length") > 0
        assert page.evaluate(f"{wide}.every(e => e.tabIndex === 0)")
