"""Counts what was read of a process's texts, and what was left out and why, to be said aloud."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from common.text import printable

_MOST_KINDS: Final = 12


@dataclass(slots=True)
class Tally:
    """Counts of one reading.

    Args:
        part: which data: "train" or "validation".
        duplicates: documents that are equal to an earlier one; they are read like any other.
    """

    part: str
    files: int = 0
    documents: int = 0
    tokens: int = 0
    duplicates: int = 0
    _notes: dict[str, tuple[int, str]] = field(default_factory=dict)

    def note(self, what: str, where: object, num: int = 1) -> None:
        """Count something that a person should know of.

        Args:
            what: a kind of thing and what became of it: "files left out, their ending is .pdf".
            where: the file, or the file and line; the first is remembered.
        """
        count, first = self._notes.get(what, (0, printable(str(where))))
        self._notes[what] = count + num, first

    def sentences(self) -> Iterator[str]:
        """Yield what was read, then each kind of what was not, or not as it stands there.

        The most frequent kinds, that is: a folder may hold files of any number of endings.
        """
        yield (
            f"data.{self.part}: {_counted(self.files, 'file')}, "
            f"{_counted(self.documents, 'document')}, {_counted(self.tokens, 'token')}; "
            f"{self.duplicates:,} equal to an earlier document"
        )
        most = sorted(self._notes.items(), key=lambda item: -item[1][0])
        for what, (count, first) in most[:_MOST_KINDS]:
            yield f"data.{self.part}: {what}: {count:,}, the first {first}"
        if rest := most[_MOST_KINDS:]:
            total = sum(count for _, (count, _) in rest)
            yield f"data.{self.part}: of {len(rest)} other kinds: {total:,}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
