"""The command `crosscloud plan`: reads, computes, prints."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from commands.plan.forecast import forecast
from commands.plan.model import planned_genesis
from commands.plan.options import read_options
from commands.plan.table import tables
from services.observe.progress import Outlet, outlet, shown
from services.process.exit_status import Exit

_COLUMNS = 80


def main(
    config: Path,
    *,
    options: Path | None,
    parameters: float | None,
    workers: Sequence[str],
    links: Sequence[str],
    speeds: Sequence[str],
    prices: Sequence[str],
    coordinator: str | None,
    as_json: bool,
    out: Outlet | None = None,
) -> Exit:
    """Say what a run will move, cost, take and need.

    Args:
        out: where people see that it is at work; None = standard error.

    Raises:
        ConfigError: a file or an option is wrong; names it and the fix.
    """
    told = read_options(
        options,
        parameters=parameters,
        workers=workers,
        links=links,
        speeds=speeds,
        prices=prices,
        coordinator=coordinator,
    )
    with shown("outlining the model", out=out or outlet()):
        genesis = planned_genesis(config, told.parameters)
    found = forecast(genesis, told)
    if as_json:
        sys.stdout.write(json.dumps(dataclasses.asdict(found), indent=2) + "\n")
    else:
        Console(width=_COLUMNS, highlight=False, markup=False).print(tables(found))
    return Exit.OVER
