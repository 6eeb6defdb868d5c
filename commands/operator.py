"""`crosscloud status | pause | resume | stop | rollback`: an operator's words to a coordinator."""

import datetime
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import typer

from common.documents import Evaluation, RollbackOrder
from common.errors import BadSignatureError, NotFoundError, ToldToEndError
from common.evaluations import evaluation_complaint
from common.text import printable
from services.config.settings import load_operator
from services.observe.worker_table import HEAD, cells
from services.process.exit_status import Exit
from services.trust.identity import Role
from services.wire.credentials import channel_credentials
from services.wire.operator_link import OperatorLink, RunStatus, UnreachableError
from services.worker.trusted import PinnedMembers

_CLEAR: Final = "\x1b[2J\x1b[H"
_WATCH_INTERVAL_S: Final = 1.0


def status(config: Path, *, as_json: bool, watch: bool) -> Exit:
    """Print how the run is; with `watch` again every second, until it is over.

    While watching, a coordinator that does not answer is said so and asked again.
    """
    with _link(config) as link:
        while True:
            try:
                found = link.status()
            except UnreachableError as e:
                if not watch:
                    raise
                typer.echo(f"no answer: {printable(str(e))}", err=True)
            else:
                shown = json.dumps(found.plain()) if as_json else describe(found)
                if watch and not as_json and sys.stdout.isatty():
                    typer.echo(_CLEAR, nl=False)
                typer.echo(shown)
                if not watch or found.state == "stopped":
                    return Exit.OVER
            time.sleep(_WATCH_INTERVAL_S)


def pause(config: Path) -> Exit:
    """Pause at the next round boundary."""
    with _link(config) as link:
        was_paused = link.status().state == "paused"
        link.pause()
    typer.echo("it is paused already" if was_paused else "pauses at the next round boundary")
    return Exit.OVER


def resume(config: Path) -> Exit:
    """Resume."""
    with _link(config) as link:
        link.resume()
    typer.echo("goes on")
    return Exit.OVER


def stop(config: Path) -> Exit:
    """Stop at the next round boundary; return once that is in the log."""
    with _link(config) as link, _waiting("asking for the run's end"):
        link.stop()
    typer.echo("the run is over")
    return Exit.OVER


def rollback(config: Path, version: int) -> Exit:
    """Return to an earlier version at the next round boundary; return once that is in the log."""
    with _link(config) as link, _waiting(f"asking for version {version}"):
        status = link.status()

        def shown(order: RollbackOrder) -> None:
            if status.evaluation is not None:
                _check_evaluation(status.evaluation, order, status.version, link, config)
            _show_order(order)

        link.rollback(version, shown=shown)
        now = link.status().version
    typer.echo(f"rolled back: version {version} returned under a new number; the run is at {now}")
    return Exit.OVER


def _check_evaluation(
    found: Evaluation, order: RollbackOrder, newest: int, link: OperatorLink, config: Path
) -> None:
    """Let an evaluation pass that an evaluator made in this run: by such ones a version is chosen.

    An operator holds no genesis: this run's is that which the order names, and workers obey no
    other.

    Args:
        order: that is about to be sent.
        newest: version that the coordinator has.

    Raises:
        BadSignatureError: the coordinator made it up, or has it from elsewhere.
    """
    settings, now = load_operator(config), datetime.datetime.now
    run, ca = settings.run, settings.tls.ca
    evaluators = PinnedMembers(run, ca, None, lambda: now(datetime.UTC), Role.EVALUATOR)
    complaint = evaluation_complaint(found, order.genesis, evaluators.ever)
    if complaint or (complaint := _version_complaint(found, order, newest, link)):
        raise BadSignatureError(
            f"{complaint}, though the coordinator shows it: nothing is rolled back; compare its "
            "log with your own evaluator's, and run `crosscloud verify` on it"
        )


def _version_complaint(
    found: Evaluation, order: RollbackOrder, newest: int, link: OperatorLink
) -> str:
    """Return why an evaluation is of no version of this log; "" if it is, or nobody can tell."""
    if not 0 <= found.version <= newest:
        return f"version {found.version} was evaluated, the run is at {newest}"
    digest = order.digest
    if found.version != order.version:
        try:
            digest = link.digest_of(found.version)
        except NotFoundError:  # not kept any more
            return ""
    if found.digest == digest:
        return ""
    return (
        f"version {found.version} is {digest[:16]}... there, and {found.digest[:16]}... was "
        "evaluated"
    )


def _show_order(order: RollbackOrder) -> None:
    typer.echo(
        f"signed: version {order.version} is {order.digest[:16]}... of genesis "
        f"{order.genesis[:16]}..., the log has {order.num_records} records",
        err=True,
    )


def describe(status: RunStatus) -> str:
    """Return the run in a few lines, workers as a table."""
    rows = [HEAD, *map(cells, status.workers)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    lines = [
        f"run {status.run}: {status.state}, version {status.version}, {status.progress:.0%} done, "
        f"{status.seconds:.0f} s",
        f"phase {status.phase}: {status.waiting_for}",
        *([f"store: {status.outage}"] if status.outage else []),
        f"privacy: {status.privacy}",
        _measured(status.evaluation),
    ]
    return "\n".join(line.rstrip() for line in (*lines, "", *table))


def _measured(e: Evaluation | None) -> str:
    if e is None:
        return "not evaluated yet"
    return f"loss {e.loss:.3f} nats, accuracy {e.accuracy:.1%} at version {e.version}"


@contextmanager
def _waiting(what: str) -> Iterator[None]:
    """Say what is waited for; whoever stops waiting takes nothing back."""
    typer.echo(f"{what}: waits for the open round's end (Ctrl-C ends only the waiting)", err=True)
    try:
        yield
    except ToldToEndError:
        typer.echo(
            "asked for, and not in the log yet: it takes effect at the next round boundary, unless "
            "the coordinator ends before; look at `crosscloud status`",
            err=True,
        )
        raise


@contextmanager
def _link(config: Path) -> Iterator[OperatorLink]:
    settings = load_operator(config)
    tls, timeout_s = settings.tls, settings.timeout_s
    credentials = channel_credentials(tls, settings.run, Role.OPERATOR)
    with OperatorLink(settings.coordinator, credentials, timeout_s=timeout_s, tls=tls) as link:
        yield link
