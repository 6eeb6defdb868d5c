"""`crosscloud report`: reads a run's folder, writes the page."""

from pathlib import Path
from typing import Final

from rich.console import Console

from commands.report.page import page
from commands.report.run_folder import read_run
from common.errors import ConfigError
from services.disk.files import Draft
from services.observe.progress import Outlet, outlet, shown
from services.process.exit_status import Exit

REPORT: Final = "report.html"


def main(
    folder: Path,
    *,
    out: Path | None,
    genesis: Path | None,
    price_per_gb: float,
    told: Outlet | None = None,
) -> Exit:
    """Write the report and print where it is; return the exit status.

    Args:
        told: where people see that it is at work; None = standard error.

    Raises:
        ConfigError: something in the folder is missing or damaged, or `out` cannot be written.
    """
    with shown("writing the report", out=told or outlet()):
        path = write_report(folder, out=out, genesis=genesis, price_per_gb=price_per_gb)
    Console(highlight=False, markup=False, soft_wrap=True).print(f"report   {path}")
    return Exit.OVER


def write_report(
    folder: Path, *, price_per_gb: float, out: Path | None = None, genesis: Path | None = None
) -> Path:
    """Write the report; return its path. See `main`."""
    path = out or folder / REPORT
    content = page(read_run(folder, genesis), price_per_gb)
    if path.is_dir():
        raise ConfigError(f"{path}: a folder; give --out the name of a file")
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent}: no such folder; make it, or give another --out")
    with Draft(path.parent, path.stem) as draft:
        draft.append(content.encode())
        draft.path.chmod(0o644)  # to be shown around; nothing on it is secret to the run's people
        draft.rename(path)
    return path
