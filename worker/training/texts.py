"""Finds and reads files of text as they are out there: their documents, piece by piece.

Nothing is read whole but a line of a .jsonl file. What is left out, or not read as it stands there,
is noted (`worker/training/tally.py`); what cannot be meant is refused, with its file and line.
"""

import codecs
import glob
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from common.canonical import Json
from common.errors import ConfigError
from common.foreign import boundary, refuse_pointer, why
from worker.training.tally import Tally

SUFFIXES: Final = (".txt", ".md", ".py", ".jsonl")
"""Of files that are read, in any case; .jsonl has a document on each line."""
PIECE: Final = 2**17
"""Characters that are encoded at once, at most: a tokenizer takes a hundred bytes for each."""

_FIX: Final = "correct data, or make it readable for this user"
_BOM: Final = codecs.BOM_UTF8
_OTHERS: Final = (
    ("UTF-32", (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),
    ("UTF-16", (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
)
"""The longer marks first: one of UTF-32 begins as one of UTF-16 does."""
_MOST_DIGITS: Final = 400
_LONE_HALF: Final = re.compile("[\ud800-\udfff]")

Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file to read. `named`: by its own path, so it has to be readable."""

    path: Path
    named: bool


# Which files are meant ---------------------------------------------------------------------------


def find_files(patterns: Sequence[str], tally: Tally, folder: Path) -> list[TextFile]:
    """Return the files that `patterns` name, each once, in order; links are followed.

    Args:
        patterns: files, folders (searched to the bottom) or globs.
        folder: that they are relative to.

    Raises:
        ConfigError: a pattern that names nothing to read.
    """
    where, found, read = f"data.{tally.part}", [], set[Key]()
    for pattern in patterns:
        if not pattern.strip():  # which would be the settings file's own folder
            raise ConfigError(f"{where}: {pattern!r} is no path; give one, or '.' for this folder")
        with boundary(where, f"{pattern!r} cannot be looked for", _FIX):
            files = _named_by(pattern, folder, where, tally)
            if not files:
                raise ConfigError(
                    f"{where}: {pattern!r} names no file to read{_elsewhere(pattern, folder)}; "
                    f"give files, folders or globs of {', '.join(SUFFIXES)}"
                )
        for file in files:
            if (key := _key(os.stat(file.path))) in read:
                tally.note("files named twice, or linked to: read once", file.path)
                continue
            read.add(key)
            found.append(file)
    return found


def _elsewhere(pattern: str, folder: Path) -> str:
    """Return where a relative pattern was looked for, and where it may have been meant."""
    if Path(pattern).expanduser().is_absolute():
        return ""
    here = glob.glob(pattern) and folder.resolve() != Path().resolve()
    meant = ": a path is relative to the file that it stands in, not to the working folder"
    return f" in {folder.absolute()}{meant * bool(here)}"


def _named_by(pattern: str, folder: Path, where: str, tally: Tally) -> list[TextFile]:
    path = folder / Path(pattern).expanduser()
    if path.is_dir():
        os.scandir(path).close()  # a folder that is named has to be readable
        return [TextFile(f, named=False) for f in sorted(_walk(path, tally))]
    if path.exists():
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            raise ConfigError(
                f"{where}: {path} is not one of {', '.join(SUFFIXES)}; convert it first"
            )
        return [TextFile(path, named=True)]
    found: set[Path] = set()
    for match in map(Path, glob.glob(_globbed(path), recursive=True)):
        found.update(_walk(match, tally) if match.is_dir() else _readable([match], tally))
    return [TextFile(f, named=False) for f in sorted(found)]


def _globbed(path: Path) -> str:
    """Return the glob; a folder in front that is there by its very name, brackets too, is meant."""
    there = next((f for f in path.parents if f.is_dir()), Path())
    return str(Path(glob.escape(str(there)), path.relative_to(there)))


def _walk(top: Path, tally: Tally) -> Iterator[Path]:
    """Yield the files below `top`; each folder once, so a link back to the top ends somewhere.

    What is hidden there is somebody's own business: a version control's, an editor's, the second
    halves that macOS writes beside files (`._a.txt`).
    """

    def unreadable(e: OSError) -> None:
        tally.note(f"folders left out, {e.strerror}", e.filename)

    seen = {_key(os.stat(top))}
    for folder, names, files in os.walk(top, followlinks=True, onerror=unreadable):
        below = []
        for name in sorted(names):
            if name.startswith("."):
                tally.note("hidden folders left out", Path(folder, name))
                continue
            try:
                key = _key(os.stat(Path(folder, name)))
            except OSError as e:
                unreadable(e)
                continue
            if key not in seen:
                seen.add(key)
                below.append(name)
        names[:] = below
        for name in files:
            if name.startswith("."):
                tally.note("hidden files left out", Path(folder, name))
        shown = (Path(folder, name) for name in files if not name.startswith("."))
        yield from _readable(shown, tally)


def _readable(paths: Iterable[Path], tally: Tally) -> Iterator[Path]:
    for path in paths:
        try:
            mode = os.stat(path).st_mode
        except OSError as e:
            tally.note(f"files left out, {e.strerror}", path)
            continue
        if not stat.S_ISREG(mode):
            tally.note("files left out, they are devices, pipes or sockets", path)
        elif path.suffix.lower() not in SUFFIXES:
            ending = f"their ending is {path.suffix}" if path.suffix else "they have no ending"
            tally.note(f"files left out, {ending}", path)
        else:
            yield path


def _key(found: os.stat_result) -> Key:
    return found.st_dev, found.st_ino


# Their documents ---------------------------------------------------------------------------------


def pieces(file: TextFile, text_field: str, tally: Tally) -> Iterator[tuple[str, bool]]:
    """Yield the file's documents in pieces, and with each whether its document ends there.

    Args:
        text_field: where a line of a .jsonl file has its text.

    Raises:
        ConfigError: not text, or a line without text; names file and line.
    """
    where = f"data.{tally.part}"
    try:
        opened = file.path.open("rb")
    except OSError as e:
        if file.named:
            raise ConfigError(f"{where}: {file.path} cannot be read: {why(e)}; {_FIX}") from None
        tally.note(f"files left out, {e.strerror}", file.path)
        return
    tally.files += 1
    with opened, boundary(where, f"{file.path} cannot be read", _FIX):
        refuse_pointer(where, file.path)
        if file.path.suffix.lower() == ".jsonl":
            yield from _lines(opened, text_field, file.path, tally)
        else:
            yield from cut(_decoded(opened, where, file.path))


def cut(blocks: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Yield one document in pieces, cut between two lines where that can be; the last ends it."""
    rest = ""
    for block in blocks:
        rest += block
        while len(rest) > PIECE:
            at = _place(rest)
            yield rest[:at], False
            rest = rest[at:]
    yield rest, True


def _place(text: str) -> int:
    """Return where a tokenizer would most likely cut, too.

    Best is after a line's end between two characters that are no space: splitting patterns keep
    spaces that follow each other together. Then before a space, which goes with the next word.
    """
    at = text.rfind("\n", PIECE // 2, PIECE)
    while at > 0:
        if not text[at - 1].isspace() and not text[at + 1].isspace():
            return at + 1
        at = text.rfind("\n", PIECE // 2, at)
    space = text.rfind(" ", PIECE // 2, PIECE)
    return space if space > 0 else PIECE


def _decoded(file: BinaryIO, where: str, path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    head = file.read(len(codecs.BOM_UTF32_LE))
    for name, marks in _OTHERS:
        if head.startswith(marks):
            raise ConfigError(f"{where}: {path} is {name}, not UTF-8; convert it first")
    start = len(_BOM) if head.startswith(_BOM) else 0
    block = head[start:] + file.read(PIECE)
    while True:
        held = decoder.getstate()[0]
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as e:
            line += (held + block)[: e.start].count(b"\n")
            raise ConfigError(
                f"{where}: {path} is not UTF-8 at byte {start - len(held) + e.start}, line {line};"
                " convert it first"
            ) from None
        before, nul, _ = text.partition("\0")
        if nul:
            raise ConfigError(
                f"{where}: {path}, line {line + before.count(chr(10))}, holds a NUL byte: it"
                " is no text, or UTF-16 or UTF-32 without a mark; convert it, or take it away"
            )
        yield text
        if not block:
            return
        start, line = start + len(block), line + text.count("\n")
        block = file.read(PIECE)


def _lines(file: BinaryIO, text_field: str, path: Path, tally: Tally) -> Iterator[tuple[str, bool]]:
    """Lines end at LF and CR LF alone: U+2028 and its like are text within a JSON string."""
    for number, line in enumerate(file, 1):
        stripped = line.removeprefix(_BOM).strip(b" \t\r\n")
        if not stripped:
            continue
        place = f"{path}, line {number}"
        found = _field(stripped, text_field, f"data.{tally.part}: {place}")
        if found is None:
            tally.note(f"lines left out, their {text_field!r} is null", place)
            continue
        text, halves = _LONE_HALF.subn("\ufffd", found)
        if halves:
            tally.note("lone halves of surrogate pairs read as U+FFFD", place, halves)
        if nuls := text.count("\0"):
            tally.note("NUL characters read as U+FFFD", place, nuls)
            text = text.replace("\0", "\ufffd")
        yield from cut(text[i : i + PIECE] for i in range(0, len(text), PIECE))


def _field(line: bytes, name: str, place: str) -> str | None:
    """Return the text of a line; None where it says that there is none."""
    num_texts = 0

    def built(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        nonlocal num_texts  # of the outermost object in the end: it is built last
        num_texts = sum(key == name for key, _ in pairs)
        return dict(pairs)

    try:
        found: Json = json.loads(line.decode(), object_pairs_hook=built, parse_int=_whole)
    except UnicodeDecodeError as e:
        raise ConfigError(f"{place} is not UTF-8 at its byte {e.start}; convert it first") from None
    except (ValueError, RecursionError) as e:
        raise ConfigError(f"{place} is no JSON object: {why(e)}; correct the line") from None
    if not isinstance(found, dict) or name not in found:
        raise ConfigError(
            f"{place}: no JSON object with a field {name!r}; correct the line, or set"
            " data.text_field to the name of the field that holds the text"
        )
    if num_texts > 1:
        raise ConfigError(f"{place}: {name!r} stands {num_texts} times; make it one text")
    text = found[name]
    if text is not None and not isinstance(text, str):
        raise ConfigError(
            f"{place}: {name!r} is no text, it is {json.dumps(text)[:60]}; make it text or null"
        )
    return text


def _whole(digits: str) -> int | float:
    """Return a number; Python refuses whole ones of some thousand digits, which are not ours."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)
