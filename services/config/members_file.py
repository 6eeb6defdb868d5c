"""What members.yaml and pins.yaml have in common: one key, `members`, and a list under it.

What an entry must hold is each file's own business (`services/trust/identity.py`,
`services/trust/pins.py`). Every value is text, as it was written: a worker may be called `001`,
`no` or `null`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from common.errors import ConfigError
from services.config import yaml_file
from services.disk.files import refuse_too_many


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry; `where` is its file and line, for sentences."""

    where: str
    fields: dict[str, str]


def read_entries(path: Path, what: str, fields: Sequence[str]) -> list[Entry]:
    """Return the entries under `members`.

    Args:
        what: the file is called in messages: "the member list".
        fields: that each entry has, and no other.

    Raises:
        OutOfDescriptorsError: not now: it may be there, and right.
        ConfigError: the file is missing, not YAML, or holds anything else.
    """
    try:
        return _entries(yaml_file.read(path), fields)
    except OSError as e:
        refuse_too_many(e, f"cannot read {what}")
        raise ConfigError(f"{path}: cannot read {what}: {e.strerror}") from None


def parse_entries(text: str, path: Path, fields: Sequence[str]) -> list[Entry]:
    """Return the entries in a text that is, or will be, in the file `path`.

    Raises:
        ConfigError: as `read_entries`.
    """
    return _entries(yaml_file.parse(text, str(path)), fields)


def _entries(written: yaml_file.Written, fields: Sequence[str]) -> list[Entry]:
    raw = written.value
    if not isinstance(raw, dict) or raw.keys() != {"members"}:
        raise ConfigError(f"{written.source}: expected one key, `members`, with a list under it")
    entries = [] if raw["members"] is None else raw["members"]
    if not isinstance(entries, list):
        raise ConfigError(f"{written.where(('members',))}: members: expected a list under it")
    return [_entry(written, i, entry, fields) for i, entry in enumerate(entries)]


def _entry(written: yaml_file.Written, i: int, entry: object, fields: Sequence[str]) -> Entry:
    where = f"{written.where(('members', i))}: members[{i}]"
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: expected the keys {', '.join(fields)}")
    if unknown := [key for key in entry if key not in fields]:
        close = get_close_matches(unknown[0], fields, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(f"{where}: {unknown[0]}: unknown key; {hint}known: {', '.join(fields)}")
    found = {}
    for name in fields:
        loc = ("members", i, name)
        value = written.texts.get(loc) or entry.get(name)
        if not isinstance(value, str):
            missing = "missing; add it" if name not in entry else "expected a word"
            raise ConfigError(f"{where}: {name}: {missing}")
        found[name] = value
    return Entry(where, found)
