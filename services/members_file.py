"""What members.yaml and pins.yaml have in common: one key, `members`, and a list under it.

What an entry must hold is each file's own business (`services/identity.py`, `services/pins.py`).
"""

from pathlib import Path
from typing import Any

import yaml

from common.errors import ConfigError
from services.config_file import NOT_YAML
from services.files import refuse_too_many


def read_entries(path: Path, what: str) -> list[Any]:
    """Return the entries under `members`, whatever they are.

    Args:
        what: the file is called in messages: "the member list".

    Raises:
        OutOfDescriptorsError: not now: it may be there, and right.
        ConfigError: the file is missing, not YAML, or holds anything else.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as e:
        refuse_too_many(e, f"cannot read {what}")
        raise ConfigError(f"{path}: cannot read {what}: {e.strerror}") from None
    except NOT_YAML as e:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(e).split())}") from None
    entries = raw.get("members") if isinstance(raw, dict) and raw.keys() == {"members"} else None
    if not isinstance(entries, list):
        raise ConfigError(f"{path}: expected one key, `members`, with a list under it")
    return entries
