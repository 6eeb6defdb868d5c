"""Calls what is not ours: whatever it raises becomes one sentence of ours, an error boundary.

    with boundary("settings.model", "cannot be built", "compare it with the library's pages"):
        config = AutoConfig.for_model(**values)

Which exceptions a library raises is its own business, and changes with its versions; so nothing
here is a list of them. What the sentence begins with is what the operator can change: a setting's
path, an option, a file. Our own errors pass as they are, and so does what ends a process.
"""

import stat
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import BadKeyError, ConfigError, CrosscloudError, ToldToEndError

_MOST_CHARACTERS = 300
_PANIC = "pyo3_runtime"  # what a library in Rust raises at a bug of its own: no `Exception`
_POINTER = b"version https://git-lfs.github.com/spec/"
_MOST_POINTER_BYTES = 1024
_HANDED_OVER = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")


@contextmanager
def boundary(
    setting: str | Path, doing: str, fix: str = "", *, place: bool = False
) -> Iterator[None]:
    """Turn what is raised inside into a ConfigError: "SETTING: DOING: what was raised; FIX".

    Args:
        setting: what is to blame: "settings.model", "metrics.port", "--out".
        doing: what could not be done: "cannot be loaded".
        fix: what to do about it.
        place: say in which file and line it was raised: for code that is the operator's own. It may
            not end this process either, with `sys.exit` say: only who told this process to does.
    """
    try:
        yield
    except CrosscloudError:
        raise
    except BaseException as e:
        if isinstance(e, ToldToEndError) or (ends_the_process(e) and not place):
            raise
        where = _place(e) if place else ""
        raise ConfigError(f"{setting}: {doing}: {why(e)}{where}{'; ' if fix else ''}{fix}") from e


@contextmanager
def foreign(what: str, error: type[CrosscloudError] = BadKeyError) -> Iterator[None]:
    """Parse another party's bytes; the block holds the parser's calls, and nothing of ours.

    What a parser raises of them is no operator's business: it says nothing but that.

    Args:
        what: is parsed, for the sentence.
        error: that stands for whatever is raised; errors of ours pass as they are.
    """
    try:
        yield
    except CrosscloudError:
        raise
    except BaseException as e:
        if ends_the_process(e):
            raise
        raise error(f"{what} cannot be read") from None


def ends_the_process(e: BaseException) -> bool:
    """Return whether an exception is no failure: a signal, or the end of a task."""
    return not isinstance(e, Exception) and type(e).__module__ != _PANIC


def why(e: BaseException) -> str:
    """Return what an exception says, on one line, with its kind where the words need it."""
    if isinstance(e, OSError) and e.strerror:
        return e.strerror if e.filename is None else f"{e.strerror} ({e.filename})"
    if isinstance(e, MemoryError):
        return "not enough memory"
    words = " ".join(str(e).split())
    if len(words) > _MOST_CHARACTERS:
        words = words[:_MOST_CHARACTERS] + "..."
    if words and isinstance(e, OSError | ValueError):
        return words
    return f"{type(e).__name__}: {words}".removesuffix(": ")


def _place(e: BaseException) -> str:
    frames = traceback.extract_tb(e.__traceback__)
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def is_special(path: Path) -> bool:
    """Return whether a device, pipe or socket stands there: opened, it may wait or never end.

    What a shell hands over on purpose (`<(...)`, /dev/stdin) is not.

    Raises:
        OSError: nothing is there.
    """
    mode = path.stat().st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or str(path).startswith(_HANDED_OVER))


def refuse_pointer(setting: str | Path, path: Path) -> None:
    """Let any file pass but a pointer that Git LFS left in its place, and what is no file.

    Raises:
        ConfigError: the content was never fetched; or it is a device, pipe or socket.
    """
    if is_special(path):
        raise ConfigError(f"{setting}: {path} is a device, pipe or socket; put the file there")
    if path.is_dir() or path.stat().st_size > _MOST_POINTER_BYTES:
        return
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise ConfigError(
                f"{setting}: {path} is a pointer of Git LFS, not the file itself: fetch it with"
                " `git lfs pull`"
            )
