"""`crosscloud certs`: makes the files of a federation's CA, certificates and member list."""

from collections.abc import Sequence
from pathlib import Path

import typer

from common.foreign import boundary
from common.text import printable
from services.process.exit_status import Exit
from services.trust import requests as cert_requests
from services.trust.authority import CA_KEY, MEMBERS, Holder, init_federation
from services.trust.identity import Role
from services.trust.member_listing import listed_in, too_few_yet


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
    min_cohort: int,
) -> Exit:
    """Make what is missing in `folder` and say what was made."""
    holders = [
        _holder(Role.COORDINATOR, coordinator, hosts),
        _holder(Role.EVALUATOR, evaluator),
        _holder(Role.OPERATOR, operator),
        *(_holder(Role.WORKER, name) for name in workers),
    ]
    written = init_federation(folder, run, holders, valid_days, min_cohort)
    for path in written:
        typer.echo(f"wrote {path}")
    left_out = sorted({h.name for h in holders} - set(listed_in(folder / MEMBERS, run)))
    if left_out:
        typer.echo(
            f"not listed in {folder / MEMBERS}: {', '.join(left_out)}; a name that holds a "
            "certificate is not listed again: add its line to let it in"
        )
    elif not written:
        typer.echo(f"{folder} is complete; nothing to do")
    if folder / CA_KEY in written:
        typer.echo(f"{folder / CA_KEY} can admit anybody: keep it off the coordinator")
    if said := too_few_yet(folder / MEMBERS, run, min_cohort):
        typer.echo(f"warning: {printable(said)}", err=True)
    return Exit.OVER


def request(folder: Path, run: str, role: str, name: str, *, hosts: tuple[str, ...]) -> Exit:
    """Make a key where it will be used, and a request to sign."""
    with boundary("--role", f"{role!r} is none", f"give one of {', '.join(Role)}"):
        known = Role(role)
    path, shown = cert_requests.request(folder, cert_requests.holder(run, known, name), hosts)
    typer.echo(f"wrote {path}: send it to the authority, and read it this out:")
    return _say(shown)


def sign(folder: Path, path: Path, *, fingerprint: str, valid_days: int) -> Exit:
    """Sign a request that was compared with what its maker read out."""
    target, shown = cert_requests.sign(folder, path, fingerprint, valid_days)
    typer.echo(f"wrote {target}: send it back, it is no secret; the name is on the member list")
    return _say(shown)


def show(path: Path) -> Exit:
    """Say what a certificate or a request holds."""
    return _say(cert_requests.show(path))


def _say(shown: cert_requests.Shown) -> Exit:
    who = shown.identity
    typer.echo(f"{shown.kind}: {who.role} {who.name} of {who.organisation} in run {who.run}")
    if shown.hosts:
        typer.echo(f"hosts: {printable(', '.join(shown.hosts))}")
    if shown.until is not None:
        typer.echo(f"good until {shown.until:%Y-%m-%d %H:%M} UTC")
    typer.echo(f"fingerprint: {shown.fingerprint}")
    typer.echo(f"key: {shown.key}")
    return Exit.OVER


def _holder(role: Role, text: str, hosts: tuple[str, ...] = ()) -> Holder:
    name, _, organisation = text.partition("@")
    return Holder(role, name, organisation or name, hosts)
