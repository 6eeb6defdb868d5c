"""Text that every machine has: the Python standard library's own sources, split for a federation.

Whole packages go to one worker, so that the shares differ. Tests and character tables are left out.
"""

import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

_LEFT_OUT: Final = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idlelib", "encodings", "__pycache__"}
)
_HELD_OUT: Final = 200_000
"""Bytes at most, in equal parts from each share."""
_LONGEST_HELD_OUT: Final = 40_000
"""Bytes: no single long file fills the validation mix."""


@dataclass(frozen=True, slots=True)
class StandardLibrary:
    """Texts by path.

    Args:
        shares: one worker's training text each.
        validation: held out from all shares, whole files; in no share.
    """

    shares: tuple[Mapping[str, str], ...]
    validation: Mapping[str, str]


def stdlib_shares(num_workers: int) -> StandardLibrary:
    """Split the standard library of this interpreter: the same on every call.

    Args:
        num_workers: shares to make, of about equal size, each of neighbouring top-level names.
    """
    files = dict(_sources(Path(sysconfig.get_paths()["stdlib"])))
    shares = [dict(s) for s in _split(files, num_workers)]
    validation: dict[str, str] = {}
    for share in shares:
        room = _HELD_OUT // num_workers
        for path in sorted(share, key=lambda p: sha256(p.encode()).digest()):
            num_bytes = len(share[path].encode())
            if num_bytes <= min(room, _LONGEST_HELD_OUT):
                room -= num_bytes
                validation[path] = share.pop(path)
    return StandardLibrary(tuple(shares), validation)


def write_texts(texts: Mapping[str, str], folder: Path) -> None:
    """Write each text to its path under `folder`."""
    for path, text in texts.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="")


def _sources(root: Path) -> Iterator[tuple[str, str]]:
    for file in sorted(root.rglob("*.py")):
        path = file.relative_to(root)
        if _LEFT_OUT.isdisjoint(path.parts):
            try:
                text = file.read_bytes().decode()
            except (UnicodeDecodeError, OSError):
                continue
            if text:
                yield path.as_posix(), text


def _split(files: Mapping[str, str], num_shares: int) -> Sequence[Mapping[str, str]]:
    """Cut the files, ordered by top-level name, into runs of about equal size between names."""
    total = sum(len(t) for t in files.values())
    shares: list[dict[str, str]] = [{} for _ in range(num_shares)]
    tops: dict[str, list[str]] = {}
    for path in files:
        tops.setdefault(path.split("/")[0], []).append(path)
    done = 0
    for top in sorted(tops):
        num_bytes = sum(len(files[p]) for p in tops[top])
        share = shares[min(num_shares - 1, (done + num_bytes // 2) * num_shares // total)]
        share.update((p, files[p]) for p in tops[top])
        done += num_bytes
    return shares
