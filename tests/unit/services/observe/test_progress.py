"""How far something is: the words, and when they come; without a clock and without a terminal."""

import io
from collections.abc import Callable

import pytest

from services.observe.progress import (
    BYTES,
    Lines,
    Outlet,
    Screen,
    ShownProgress,
    outlet,
    shown,
    tell,
)

GB = 10**9


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (ShownProgress("v", 4 * GB, BYTES, 0, done=GB), "v: 1.0 GB of 4.0 GB, 25%, 30 s left"),
        (ShownProgress("v", 4 * GB, BYTES, 0), "v: 0 B of 4.0 GB, 0%"),
        (ShownProgress("v", 4 * GB, BYTES, 0, done=4 * GB), "v: 4.0 GB of 4.0 GB, 100%, 0 s left"),
        (ShownProgress("v", 4 * GB, BYTES, 0, done=5 * GB), "v: 5.0 GB of 4.0 GB, 100%, 0 s left"),
        (
            ShownProgress("campaign", 8, "runs", 0, done=2.5),
            "campaign: 2 of 8 runs, 31%, 22 s left",
        ),
        (
            ShownProgress("campaign", 8, "runs", 0, done=6, before=5, note="now a, b"),
            "campaign: 6 of 8 runs, 75%, 20 s left, now a, b",
        ),
        (ShownProgress("campaign", 8, "runs", 0, done=5, before=5), "campaign: 5 of 8 runs, 62%"),
        (ShownProgress("building the learner", 0, "", 0), "building the learner: 10 s"),
        (ShownProgress("files", 0, BYTES, 0, done=5e6), "files: 5.0 MB, 10 s"),
        (
            ShownProgress("v", 4 * GB, BYTES, 0, done=GB / 100),
            "v: 10.0 MB of 4.0 GB, 0%, 66 min left",
        ),
        (ShownProgress("late", 0, "", 20), "late: 0 s"),
    ],
)
def test_a_line_says_how_much_of_how_much_and_how_long_it_takes(
    progress: ShownProgress, line: str
) -> None:
    assert progress.line(10.0) == line


class Clock:
    """Virtual seconds; something is over at `over_s`."""

    def __init__(self, over_s: float, each: Callable[[float], None] = lambda now_s: None) -> None:
        self.s, self._over_s, self._each = 0.0, over_s, each

    def now_s(self) -> float:
        return self.s

    def wait(self, seconds: float) -> bool:
        self.s = min(self.s + seconds, self._over_s)
        self._each(self.s)
        return self.s >= self._over_s


def said(over_s: float, out: Callable[[Callable[[str], None]], Outlet]) -> list[str]:
    """Return what is written while four bytes in a hundred come each second."""
    written: list[str] = []
    progress = ShownProgress("v", 100, BYTES, 0.0)

    def each(now_s: float) -> None:
        progress.done = 4 * now_s

    clock = Clock(over_s, each)
    tell(progress, out(written.append), clock.now_s, clock.wait)
    return written


def test_without_a_terminal_a_line_comes_every_ten_seconds() -> None:
    assert said(9.9, Lines) == []
    assert said(25.0, Lines) == [
        "v: 40 B of 100 B, 40%, 15 s left",
        "v: 80 B of 100 B, 80%, 5 s left",
    ]


def screen(columns: int) -> Callable[[Callable[[str], None]], Outlet]:
    class Stream(io.StringIO):
        def __init__(self, write: Callable[[str], None]) -> None:
            super().__init__()
            self.write = write  # type: ignore[assignment, method-assign]

    return lambda write: Screen(Stream(write), columns)


def test_a_terminal_shows_what_takes_longer_than_two_seconds_and_is_clean_afterwards() -> None:
    assert said(1.9, screen(80)) == []
    first, *later, last = said(4.0, screen(80))
    assert first == "\rv: 8 B of 100 B, 8%, 23 s left\x1b[K"
    assert len(later) == 3
    assert last == "\r\x1b[K"


def test_a_line_never_wraps_on_a_narrow_terminal() -> None:
    *lines, _ = said(4.0, screen(12))
    assert {len(line.removeprefix("\r").removesuffix("\x1b[K")) for line in lines} == {11}


def test_whether_a_stream_is_a_terminal_decides() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(outlet(Terminal()), Screen)
    pipe = io.StringIO()
    lines = outlet(pipe)
    assert isinstance(lines, Lines)
    lines.say("v: 10 s")
    assert pipe.getvalue() == "v: 10 s\n"


class Everything:
    """An outlet without pauses, which says when it was told of."""

    first_s = every_s = 0.001

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.has_ended = False

    def say(self, line: str) -> None:
        self.lines.append(line)

    def end(self) -> None:
        self.has_ended = True


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_a_block_is_told_of_until_it_ends_however_that_is(
    error: type[BaseException] | None,
) -> None:
    out = Everything()
    try:
        with shown("v", 4, "steps", out=out) as progress:
            while not out.lines:
                progress.done = 3
            if error is not None:
                raise error
    except KeyboardInterrupt:
        assert error is not None
    assert out.has_ended
    assert out.lines[0].startswith("v: ")


def test_where_nobody_looks_nothing_is_said_and_no_thread_runs() -> None:
    with shown("v", 4, "steps", out=None) as progress:
        progress.advance()
    assert progress.done == 1
