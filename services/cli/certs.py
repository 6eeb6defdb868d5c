"""`crosscloud certs`: names from the command line to files."""

from collections.abc import Sequence
from pathlib import Path

import typer

from services.certs import CA_KEY, Holder, init_federation
from services.identity import Role


def init(
    folder: Path,
    run: str,
    *,
    hosts: tuple[str, ...],
    workers: Sequence[str],
    coordinator: str,
    evaluator: str,
    operator: str,
    valid_days: int,
) -> int:
    """Make what is missing in `folder` and say what was made."""
    holders = [
        _holder(Role.COORDINATOR, coordinator, hosts),
        _holder(Role.EVALUATOR, evaluator),
        _holder(Role.OPERATOR, operator),
        *(_holder(Role.WORKER, name) for name in workers),
    ]
    written = init_federation(folder, run, holders, valid_days)
    for path in written:
        typer.echo(f"wrote {path}")
    if not written:
        typer.echo(f"{folder} is complete; nothing to do")
    elif folder / CA_KEY in written:
        typer.echo(f"{folder / CA_KEY} can admit anybody: keep it off the coordinator")
    return 0


def _holder(role: Role, text: str, hosts: tuple[str, ...] = ()) -> Holder:
    name, _, organisation = text.partition("@")
    return Holder(role, name, organisation or name, hosts)
