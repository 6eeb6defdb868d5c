"""What readers of the pages may copy: fenced blocks, and code within a line."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = sorted((ROOT / "docs").glob("*.md"))
PAGES: Final = (ROOT / "README.md", *DOCS, ROOT / "deploy/README.md")
LANGUAGES: Final = ("yaml", "sh", "python", "text")
"""A block of text is a picture or another program's line: nothing that anybody runs."""

_FENCE: Final = re.compile(r" *```(.*)")


@dataclass(frozen=True)
class Block:
    """What stands between two fences; `where` is page and line."""

    where: str
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """One command of a page; `is_whole` where it stands in a block, so that it can be copied."""

    where: str
    words: tuple[str, ...]
    is_whole: bool


def blocks(page: Path) -> Iterator[Block]:
    begin, language, lines = 0, "", list[str]()
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = _FENCE.fullmatch(line)
        if fence and begin:
            yield Block(f"{page.relative_to(ROOT)}:{begin}", language, "\n".join(lines) + "\n")
            begin = 0
        elif fence:
            begin, language, lines = number, fence[1], []
        elif begin:
            lines.append(line)
    assert not begin, f"{page}:{begin}: a fence without an end"


def prose(page: Path) -> str:
    """Return the page without its blocks."""
    kept, inside = [], False
    for line in page.read_text().splitlines():
        fence = _FENCE.fullmatch(line)
        inside ^= bool(fence)
        kept.append("" if fence or inside else line)
    return "\n".join(kept)


def spans(page: Path) -> Iterator[tuple[str, str]]:
    """Yield where code within a line stands, and the code on one line."""
    text = prose(page)
    for found in re.finditer(r"`([^`]+)`", text):
        line = text.count("\n", 0, found.start()) + 1
        yield f"{page.relative_to(ROOT)}:{line}", " ".join(found[1].split())


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a block of shell lines."""
    for line in block.text.replace("\\\n", " ").splitlines():
        yield from _commands(block.where, line, is_whole=True)


def inline_commands(page: Path) -> Iterator[Command]:
    """Yield the commands within lines, and those that a block's first comment names."""
    for where, code in spans(page):
        yield from _commands(where, code, is_whole=False)
    for block in blocks(page):
        if block.language == "yaml":
            code = block.text.partition("\n")[0].partition("  ")[2].strip()
            yield from _commands(block.where, code, is_whole=True)


def _commands(where: str, line: str, *, is_whole: bool) -> Iterator[Command]:
    if line.count("'") % 2 or line.count('"') % 2:  # no line for a shell
        assert not is_whole, f"{where}: {line}"
        return
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split, lexer.commenters = True, "#" if is_whole else ""
    words, is_ours = list[str](), False
    for word in (*lexer, ";"):
        if word not in (";", "&&", "|"):
            words.append(word)
        elif words:
            is_ours |= words[0] == "crosscloud"
            if is_ours and not is_whole and words[0] != "crosscloud":  # `crosscloud pause | stop`
                words.insert(0, "crosscloud")
            yield Command(where, tuple(words), is_whole)
            words = []
