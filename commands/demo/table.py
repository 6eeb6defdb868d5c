"""Shows a run on a terminal of 80 columns, and as plain lines where there is none.

Pure: a status in, text out.
"""

from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.observe.amounts import human_bytes, human_seconds, rough_seconds
from services.observe.worker_table import HEAD, cells, short
from services.wire.operator_link import RunStatus

_WIDTH: Final = 80
_MOST_S: Final = 99_999 * 3600.0
_MOST_LEFT_S: Final = 9_999 * 3600.0


def live_table(status: RunStatus) -> RenderableType:
    """Return two lines on the run and a table of its workers; at most 80 columns wide."""
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    first, *columns, last = HEAD
    table.add_column(first, no_wrap=True, max_width=14, overflow="ellipsis", style="bold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(last, no_wrap=True, max_width=17, overflow="ellipsis")
    for worker in status.workers:
        table.add_row(*cells(worker), style="" if worker.live else "dim")
    lines = (_first_line(status), _second_line(status))
    return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in lines), "", table)


def plain_line(status: RunStatus, num_expected: int = 0) -> str:
    """Return the run in one line of at most 80 columns: what is left of it, or who is missing.

    Args:
        num_expected: workers that are to join, as far as that is known.
    """
    live, of = sum(w.live for w in status.workers), max(num_expected, len(status.workers))
    left = left_of(status) if live == of else ""
    return (
        f"{_elapsed(status.seconds):>6}  version {short(status.version):<3}  "
        f"{measured(status)}  moved {human_bytes(status.bytes_moved)}"
        f"{left or f'  workers {live}/{of}'}"
    )


def joining_line(num_expected: int, seconds: float) -> str:
    """Return one line on a run that nobody has joined yet.

    Args:
        seconds: for how long it waits.
    """
    return f"{_elapsed(seconds):>6}  waiting for {num_expected} workers to join"


def left_of(status: RunStatus) -> str:
    """Return how much time is left at the run's pace so far; "" where nobody can tell."""
    if status.state != "running" or not 0 < status.progress < 1 or status.seconds <= 0:
        return ""
    left_s = min(status.seconds / status.progress - status.seconds, _MOST_LEFT_S)
    return f"  {rough_seconds(left_s)} left"


def measured(status: RunStatus) -> str:
    """Return loss and accuracy of the newest version that was evaluated."""
    if status.evaluation is None:
        return "loss -  accuracy -"
    loss = status.evaluation.loss
    shown = f"{loss:.3f}" if loss < 1000 else f"{loss:.0e}"
    return f"loss {shown}  accuracy {status.evaluation.accuracy:.1%}"


def saved(moved_bytes: int, fedavg_bytes: int) -> str:
    """Return what the workers moved, against float32 FedAvg for the same contributions."""
    moved = f"moved {human_bytes(moved_bytes)}"
    if not fedavg_bytes:
        return moved
    share = 1 - moved_bytes / fedavg_bytes
    return f"{moved}  float32 FedAvg {human_bytes(fedavg_bytes)}  saved {share:.0%}"


def _elapsed(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 1e6 else human_seconds(min(seconds, _MOST_S))


def _first_line(status: RunStatus) -> str:
    found = status.evaluation
    is_older = found is not None and found.version != status.version
    of = f" of version {short(found.version)}" if found is not None and is_older else ""
    rest = f"  version {short(status.version)}  {measured(status)}{of}  {_elapsed(status.seconds)}"
    rest += left_of(status)
    run = Text(status.run)  # of the run's name something is left out, of its figures nothing
    run.truncate(max(1, _WIDTH - len(rest)), overflow="ellipsis")
    return run.plain + rest


def _second_line(status: RunStatus) -> str:
    phase = status.phase.replace("_", " ") if status.state == "running" else status.state
    return f"{saved(status.bytes_moved, status.fedavg_bytes)}  {phase}"
