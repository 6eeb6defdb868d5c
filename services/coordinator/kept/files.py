"""The names of what a coordinator keeps: everybody who opens, copies or reads it asks here.

    log/            the commit log, a file per record (`log_store.py`): the truth
    data/           files of versions and aggregates (`data_store.py`), and leaders' trash in it
                    (`fence.py`)
    spool/          uploads of rounds that are open (`spool.py`)
    valkey/         live state, where no Redis is given (`embedded_valkey.py`)
    totals.json     what workers reported before this process began (`reports.py`)
    metrics.jsonl   what changed, a line every few seconds
    result.json     what came of the run, once it is over

Whose folder it is stands there too (`services/config/state_owner.py`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOG: Final = "log"
DATA: Final = "data"
METRICS: Final = "metrics.jsonl"
RESULT: Final = "result.json"


@dataclass(frozen=True, slots=True)
class CoordinatorFiles:
    """What lies in `folder`, a coordinator's data_dir or a copy: see the module docstring."""

    folder: Path

    @property
    def log(self) -> Path:
        """The folder of records."""
        return self.folder / LOG

    @property
    def data(self) -> Path:
        """The folder of files by digest."""
        return self.folder / DATA

    @property
    def spool(self) -> Path:
        """The folder of uploads."""
        return self.folder / "spool"

    @property
    def valkey(self) -> Path:
        """The folder of the coordinator's own live store."""
        return self.folder / "valkey"

    @property
    def totals(self) -> Path:
        """What workers reported."""
        return self.folder / "totals.json"

    @property
    def metrics(self) -> Path:
        """What changed, line by line."""
        return self.folder / METRICS

    @property
    def result(self) -> Path:
        """What came of the run."""
        return self.folder / RESULT
