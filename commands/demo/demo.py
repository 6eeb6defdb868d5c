"""`crosscloud demo`: four clouds on this machine train one small model, and you can watch.

It ends by itself, or with Ctrl-C, and leaves no process. An earlier demo of the same name is
replaced; any other folder is left alone.
"""

import fcntl
import json
import math
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live

from commands.demo.absent import Absent
from commands.demo.demo_settings import WORKERS, demo_spec
from commands.demo.federation import Federation
from commands.demo.layout import COORDINATOR, EVALUATOR, HEADER
from commands.demo.processes import ProcessFailedError
from commands.demo.table import joining_line, live_table, plain_line, saved
from commands.report.main import REPORT, write_report
from commands.report.run_folder import GENESIS
from common.errors import ConfigError
from common.foreign import boundary
from services.config.names import check_name
from services.config.places import check_folder
from services.coordinator.kept.files import METRICS, RESULT
from services.disk.files import keep_files_private
from services.observe.amounts import EGRESS_DOLLARS_PER_GB
from services.observe.progress import Outlet, outlet, shown
from services.process import ending
from services.process.exit_status import Exit

JOIN_S: Final = 60.0
"""How long workers may take to join until the demo says who has not, and why."""

_PLAIN_LINE_EVERY_S: Final = 5.0
_RESULTS: Final = (RESULT, METRICS)


def main(
    *,
    runs: Path,
    name: str,
    seconds: float,
    workers: Sequence[str] = WORKERS,
    keep: bool = False,
) -> Exit:
    """Run the demo; return the exit status.

    Args:
        runs: gets the folder `name`.
        name: of the run.
        seconds: length of the run; starting and ending come on top.
        workers: names of the clouds; "onprem" is slowed three times.
        keep: leave what the processes kept, too: certificates, log, versions, texts.

    Raises:
        ConfigError: a name is wrong, or the folder is something else's.
    """
    keep_files_private()
    check_name(name, "name")
    check_folder("--runs", runs)
    folder = runs / name
    console, told = Console(highlight=False, markup=False, soft_wrap=True), outlet(sys.stdout)
    with _only_demo_in(folder):
        _clear(folder)
        federation = Federation(demo_spec(folder, seconds, workers))
        with _signals_set(federation.interrupted):
            try:
                console.print(f"starting {len(workers)} workers; logs are in {folder / 'logs'}")
                with _started(federation, told):
                    _watch(federation, console)
                federation.check()
                _export(federation, folder / "model", told)
            except KeyboardInterrupt:
                console.print(f"interrupted: every process has ended; what there is: {folder}")
                return Exit.TOLD
            except ProcessFailedError as e:
                console.print(f"crosscloud: {e}")
                return Exit.FAILED
        _collect(folder, keep=keep)
        with shown("writing the report", out=told):
            write_report(folder, price_per_gb=EGRESS_DOLLARS_PER_GB)
        console.print("\n".join(_summary(folder)))
    return Exit.OVER


@contextmanager
def _started(federation: Federation, out: Outlet) -> Iterator[None]:
    """Have the federation's processes; making its first version takes long."""
    with ExitStack() as stack:
        with shown("making the run and its first version", out=out):
            stack.enter_context(federation)
        yield


def _export(federation: Federation, folder: Path, out: Outlet) -> None:
    with shown("exporting the model", out=out):
        federation.run("export", "--config", federation.config(EVALUATOR), "--out", folder)


def _watch(
    federation: Federation,
    console: Console,
    now_s: Callable[[], float] = time.monotonic,
    patience_s: float = JOIN_S,
) -> None:
    """Show the run until it ends; say who does not join, and why.

    Args:
        now_s: monotonic clock.
        patience_s: how long a worker may take to join without a word about it.
    """
    next_line_s, began_s, num_expected = -math.inf, now_s(), len(federation.workers)
    has_begun = False
    absent = Absent(federation.workers, patience_s, began_s)
    view = Live(console=console, auto_refresh=False) if console.is_terminal else nullcontext()
    with view as live:
        while not federation.finished():
            status, at_s = federation.status(), now_s()
            if missing := absent.due(status, at_s):
                console.print("\n".join(_absence(federation, missing, patience_s)))
            has_begun = has_begun or bool(status and status.workers)
            if not has_begun:
                line = joining_line(num_expected, at_s - began_s)
            elif status:
                line = plain_line(status, num_expected)
            else:
                line = ""
            if live and line:
                live.update(live_table(status) if status and has_begun else line, refresh=True)
            elif line and at_s >= next_line_s:
                console.print(line)
                next_line_s = at_s + _PLAIN_LINE_EVERY_S
            federation.sleep(1.0)


def _absence(federation: Federation, missing: Sequence[str], patience_s: float) -> Iterator[str]:
    """Yield who has not joined, and what each of them said last."""
    of = len(federation.workers)
    yield f"{len(missing)} of {of} workers have not joined after {patience_s:.0f} s; Ctrl-C ends it"
    if federation.unanswered:
        yield f"  {COORDINATOR}: {federation.unanswered}"
        yield f"  {COORDINATOR} said last: {federation.process(COORDINATOR).last_lines(1)}"
    for name in missing:
        yield f"  {name} said last: {federation.process(name).last_lines(1) or 'nothing'}"


def _collect(folder: Path, *, keep: bool) -> None:
    """Move what the run made to the top; drop what only the processes needed."""
    for name in _RESULTS:
        shutil.copyfile(folder / COORDINATOR / name, folder / name)
    shutil.copyfile(folder / "genesis" / GENESIS, folder / GENESIS)
    if keep:
        return
    for name in ("certs", "text", "genesis", "workers", COORDINATOR, EVALUATOR):
        shutil.rmtree(folder / name)
    for path in folder.glob("*.yaml"):
        if path.stem != "run":
            path.unlink()


def _summary(folder: Path) -> Iterator[str]:
    result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    yield ""
    yield f"{result['versions']} versions in {result['seconds']:.0f} s"
    if result["loss_nats"] is not None:
        yield (
            f"validation loss {result['loss_nats']:.3f} nats, perplexity "
            f"{result['perplexity']:.2f}, accuracy {result['accuracy']:.1%}"
        )
    yield saved(result["bytes_up"] + result["bytes_down"], result["bytes_float32_fedavg"])
    for name, worker in sorted(result["workers"].items()):
        yield (
            f"  {name:15} {worker['contributions']} contributions, {worker['steps']} steps, "
            f"staleness {worker['staleness_mean']:.1f}, idle {worker['idle_share']:.1%}"
        )
    yield f"model    {folder / 'model'}  (AutoModelForCausalLM.from_pretrained)"
    for name in _RESULTS:
        yield f"{name.partition('.')[0]:8} {folder / name}"
    yield f"report   {folder / REPORT}  (open it in a browser)"


@contextmanager
def _only_demo_in(folder: Path) -> Iterator[None]:
    """Let nobody else run a demo of this name: it would replace the folder under our feet."""
    path = folder.parent / f".{folder.name}.lock"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"a demo runs in {folder} already: wait for it, or give another --name"
            ) from None
        yield
        path.unlink()


def _clear(folder: Path) -> None:
    """Remove an earlier demo.

    Raises:
        ConfigError: the folder is something else's.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return
    run = folder / "run.yaml"
    if not run.is_file() or not run.read_bytes().startswith(HEADER.encode()):
        raise ConfigError(f"{folder} was not made by a demo: give another --name")
    with boundary("--name", f"{folder} cannot be replaced", "give another"):
        shutil.rmtree(folder)


@contextmanager
def _signals_set(event: threading.Event) -> Iterator[None]:
    """Let signals only set `event`: nothing is torn in the middle, however long the end takes."""

    def note(_number: int, _frame: object) -> None:
        event.set()

    before = {number: signal.signal(number, note) for number in ending.heard()}
    ending.within(math.inf)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
