"""The pictures in README.md and docs: the live table and the report page of a real run.

    python -m benchmarks.pictures [--seconds 300]
    python -m benchmarks.pictures --run runs/demo [--only report-light.png ...]

Runs the demo's federation, keeps the last live table of it that shows an open round, and writes
docs/pictures: the table as SVG, as a terminal of 80 columns has it, and parts of the page as PNG.
With --run the page is that of a run which has ended, and the table stays. It needs a Chromium.
"""

import argparse
import io
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from rich import _export_format
from rich.console import Console

from commands.demo.demo_settings import demo_spec
from commands.demo.federation import Federation
from commands.demo.layout import COORDINATOR
from commands.demo.table import live_table
from commands.report.main import write_report
from services.observe.amounts import EGRESS_DOLLARS_PER_GB, human_bytes
from services.wire.operator_link import RunStatus
from tests.rig.browser import View, browser
from tests.rig.programs import lacking

FOLDER: Final = Path(__file__).parents[1] / "docs" / "pictures"
MOST_BYTES: Final = 200_000
_NAME: Final = "demo"
_PATIENCE_S: Final = 1800.0
_WIDTH: Final = 1120
_SHOTS: Final = (
    ("report-light.png", "light", "header", "#learning .charts"),
    ("report-dark.png", "dark", "header", "#learning .charts"),
    ("report-rounds.png", "light", "#rounds", "#workers"),
)
"""Name, colour scheme, the first and the last element that is on it."""


def main() -> int:
    """Run, and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=100.0, help="length of the run")
    parser.add_argument("--run", type=Path, help="folder of a run that has ended")
    parser.add_argument("--only", nargs="+", default=[s[0] for s in _SHOTS], help="of the page")
    args = parser.parse_args()
    if reason := lacking("chromium"):
        sys.exit(f"no picture can be made here: {reason}")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        run, genesis = args.run, None
        if run is None:
            federation = Federation(demo_spec(Path(scratch) / _NAME, args.seconds))
            with federation:
                status = _last_status(federation)
            _write("live-table.svg", _terminal(status).encode())
            run, genesis = federation.layout.state(COORDINATOR), federation.layout.genesis
        page = write_report(
            run,
            out=Path(scratch) / "report.html",
            genesis=genesis,
            price_per_gb=EGRESS_DOLLARS_PER_GB,
        )
        with browser() as running:
            for name, scheme, first, last in (s for s in _SHOTS if s[0] in args.only):
                with running.open(page.as_uri(), View(_WIDTH, scheme)) as shown:
                    _write(name, shown.screenshot(first, last))
    return 0


def _last_status(federation: Federation) -> RunStatus:
    """Return the last status in which a round was open, once the run is over."""
    found = None
    until_s = time.monotonic() + _PATIENCE_S
    while not federation.finished():
        assert time.monotonic() < until_s, "the run does not end"
        status = federation.status()
        if status is not None and status.phase == "collect_masked":
            found = status
        federation.sleep(0.05)
    assert found is not None, "no round was seen"
    return found


def _terminal(status: RunStatus) -> str:
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
    console.print(live_table(status))
    template = re.sub(
        r"@font-face \{\{.*?\}\}\s*", "", _export_format.CONSOLE_SVG_FORMAT, flags=re.S
    )
    return console.export_svg(title="crosscloud demo", code_format=template, unique_id=_NAME)


def _write(name: str, content: bytes) -> None:
    if len(content) > MOST_BYTES:
        sys.exit(f"{name} has {human_bytes(len(content))}, more than {human_bytes(MOST_BYTES)}")
    (FOLDER / name).write_bytes(content)
    sys.stdout.write(f"{FOLDER / name}  {human_bytes(len(content))}\n")


if __name__ == "__main__":
    sys.exit(main())
