"""Many learning runs, in several processes: what is finished is kept, so a second call goes on.

    <folder>/<key>.json     what came of one run, by a digest of all that decides it

Deleting a file plays that run again. It does not notice that the code has changed: `SCHEMA` does.
"""

import multiprocessing
import os
import queue
import signal
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from common import canonical
from common.canonical import Json
from common.errors import CrosscloudError
from services.observe.progress import ShownProgress, outlet, shown
from simulator.experiment import Learned, LearningRun
from simulator.learning import learn

SCHEMA: Final = 1
"""Goes up when an old result could differ from a new one: arithmetic, simulation, `Learned`."""

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a file system in memory, for speed
_LOOK_EVERY_S: Final = 0.5
_ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class RunFailedError(CrosscloudError):
    """A learning run ended with an error; the message says which, and how."""


def key_of(run: LearningRun) -> str:
    """Return the digest of all that decides a run's figures: files by content, not by path."""
    return canonical.digest(
        _Decisive(
            SCHEMA,
            replace(
                run,
                clouds=tuple(replace(c, data=_by_content(c.data)) for c in run.clouds),
                measured=_by_content(run.measured),
                glanced=_by_content(run.glanced),
            ),
        )
    )


def play(
    runs: Mapping[str, LearningRun], folder: Path, *, jobs: int, console: Console
) -> dict[str, Learned]:
    """Play the runs that have no result in `folder` yet; return the results of all, by name.

    Args:
        folder: made where it is missing.
        jobs: runs that are played at once, each on one thread.
        console: shows how far it is, without a terminal besides a line per finished run.

    Raises:
        RunFailedError: a run failed; those that are under way are lost, finished ones are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{key_of(run)}.json" for name, run in runs.items()}
    missing = {name: run for name, run in runs.items() if not files[name].exists()}
    if missing:
        tasks = {name: (run, files[name]) for name, run in missing.items()}
        out, num_done = outlet(console.file), len(runs) - len(missing)
        with shown("campaign", len(runs), "runs", out=out, done=num_done) as progress:
            _play(tasks, jobs, _Shown(progress, console))
    return {name: canonical.decode(file.read_bytes(), Learned) for name, file in files.items()}


@dataclass(frozen=True, slots=True)
class _Decisive:
    schema: int
    run: LearningRun


@dataclass(frozen=True, slots=True)
class _Told:
    """A run's progress in [0, 1]; where it failed, how."""

    name: str
    progress: float
    failed: str = ""


def _play(tasks: Mapping[str, tuple[LearningRun, Path]], jobs: int, told_of: "_Shown") -> None:
    spawn = multiprocessing.get_context("spawn")
    waiting, told = spawn.Queue(), spawn.Queue()
    for name, (run, file) in tasks.items():
        waiting.put((name, run, file))
    num_children = min(jobs, len(tasks))
    children = [spawn.Process(target=_child, args=(waiting, told)) for _ in range(num_children)]
    with _one_thread_each():
        for child in children:
            waiting.put(None)
            child.start()
    try:
        for message in _heard(told, children, len(tasks)):
            if message.failed:
                raise RunFailedError(f"{message.name} failed: {message.failed}")
            told_of.progressed(message.name, message.progress)
        for child in children:
            child.join()
    finally:
        for child in children:
            child.terminate()
            child.join()
        for ours in (waiting, told):
            ours.cancel_join_thread()
            ours.close()


def _heard(told: Any, children: Sequence[BaseProcess], num_runs: int) -> Iterator[_Told]:
    """Yield what the children tell, until all runs are finished."""
    while num_runs:
        try:
            message: _Told = told.get(timeout=_LOOK_EVERY_S)
        except queue.Empty:
            if dead := [c for c in children if c.exitcode]:
                raise RunFailedError(
                    f"a process that plays runs ended with code {dead[0].exitcode}"
                ) from None
            continue
        num_runs -= message.progress == 1.0
        yield message


def _child(waiting: Any, told: Any) -> None:
    """Play what waits, one run after the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    while (task := waiting.get()) is not None:
        name, run, file = task
        try:
            with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as root:
                learned = learn(
                    run,
                    Path(root),
                    lambda r, n=name: told.put(_Told(n, 0.99 * r.progress)),  # type: ignore[misc]
                )
            _write(file, canonical.encode(learned))
        except CrosscloudError as e:
            told.put(_Told(name, 0.0, str(e)))
        except Exception:
            told.put(_Told(name, 0.0, traceback.format_exc()))
        else:
            told.put(_Told(name, 1.0))


def _write(file: Path, content: bytes) -> None:
    draft = file.with_suffix(f".{os.getpid()}.tmp")
    draft.write_bytes(content)
    draft.replace(file)


class _Shown:
    """How far the campaign is; without a terminal besides a line per finished run."""

    def __init__(self, progress: ShownProgress, console: Console) -> None:
        self._whole, self._console = progress, console
        self._progress: dict[str, float] = {}
        if progress.before and not console.is_terminal:
            console.print(f"{progress.before:.0f} of {progress.total:.0f} runs are there already")

    def progressed(self, name: str, progress: float) -> None:
        """Show that a run is so far."""
        self._progress[name] = progress
        whole, each = self._whole, self._progress
        whole.done = whole.before + sum(each.values())
        under_way = " ".join(n for n, p in each.items() if p < 1.0)
        whole.note = f"now {under_way}" if under_way else ""
        if progress == 1.0 and not self._console.is_terminal:
            done = whole.before + sum(p == 1.0 for p in each.values())
            minutes = (time.monotonic() - whole.began_s) / 60
            self._console.print(f"{done:.0f}/{whole.total:.0f} runs, {minutes:.1f} min: {name}")


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes that are started here compute on one thread; their libraries read this once."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def _by_content(data: Mapping[str, Json]) -> dict[str, Json]:
    """Return data settings with every list of paths as digests of what lies there."""
    return {
        name: [_digest(Path(p)) for p in value] if _is_paths(value) else value
        for name, value in data.items()
    }


def _is_paths(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(p, str) and Path(p).exists() for p in value)


def _digest(path: Path) -> str:
    files: Iterable[Path] = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = sha256()
    for file in files:
        if file.is_file():
            content = file.read_bytes()
            name = str(file.relative_to(path)).encode()
            found.update(b"%d %b %d " % (len(name), name, len(content)) + content)
    return found.hexdigest()
