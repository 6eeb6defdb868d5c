"""Texts for learning experiments: one share per worker, cut so that the shares differ."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.training.demo_text import stdlib_shares, write_texts

SHARED: Final = Path(__file__).parents[2] / "shared" / "data" / "wikitext-2"
"""Where WikiText-2 may lie: beside the project, never in it."""


@dataclass(frozen=True, slots=True)
class Texts:
    """One split.

    Args:
        shares: each worker's training text: file or folder.
        validation: held out from all shares.
    """

    shares: tuple[Path, ...]
    validation: Path


def wikitext(source: Path, out: Path, num_workers: int) -> Texts:
    """Cut `test.txt` at boundaries of articles, neighbours together; `valid.txt` is held out.

    The training split of WikiText-2 is not used: the two small ones are what the project's tests
    can carry.

    Raises:
        FileNotFoundError: `source` does not hold them.
    """
    articles = list(_articles((source / "test.txt").read_text(encoding="utf-8")))
    validation = (source / "valid.txt").read_text(encoding="utf-8")
    out.mkdir(parents=True, exist_ok=True)
    shares = [out / f"{i}.txt" for i in range(num_workers)]
    for path, share in zip(shares, contiguous(articles, num_workers), strict=True):
        path.write_text("".join(share), encoding="utf-8", newline="")
    held_out = out / "validation.txt"
    held_out.write_text(validation, encoding="utf-8", newline="")
    return Texts(tuple(shares), held_out)


def standard_library(out: Path, num_workers: int) -> Texts:
    """Write the demo's text: the standard library's sources, whole packages to one worker."""
    split = stdlib_shares(num_workers)
    shares = [out / str(i) for i in range(num_workers)]
    for folder, share in zip(shares, split.shares, strict=True):
        write_texts(share, folder)
    write_texts(split.validation, out / "validation")
    return Texts(tuple(shares), out / "validation")


def contiguous(documents: Sequence[str], num_shares: int) -> list[list[str]]:
    """Return runs of neighbouring documents, about equally long in all."""
    total, done = sum(map(len, documents)), 0
    shares: list[list[str]] = [[] for _ in range(num_shares)]
    for document in documents:
        middle = done + len(document) // 2
        shares[min(num_shares - 1, middle * num_shares // total)].append(document)
        done += len(document)
    return shares


def _articles(text: str) -> Iterator[str]:
    """Yield WikiText's articles: each begins with a line ` = Title = `."""
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.startswith(" = ") and not line.startswith(" = = ") and lines:
            yield "".join(lines)
            lines = []
        lines.append(line)
    yield "".join(lines)
