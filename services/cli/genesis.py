"""`crosscloud genesis`: run.yaml to genesis.json and the first version's files, once per run.

It refuses to replace another genesis: processes pin it by its digest, so a new one is a new run.
"""

import sys
from pathlib import Path
from typing import Final

from common import canonical
from common.errors import ConfigError
from services.data_store import DataStore
from services.genesis import make_genesis
from services.settings import load_run

FILE: Final = "genesis.json"
DATA: Final = "data"


def main(config: Path, out: Path) -> int:
    """Write `out/genesis.json` and `out/data/`, and say where they are."""
    settings = load_run(config)
    genesis = make_genesis(
        run=settings.name,
        seed=settings.seed,
        learner=settings.learner,
        settings=settings.settings,
        algorithm=settings.algorithm,
        stop=settings.stop,
        store=DataStore(out / DATA),
    )
    content, path = canonical.encode(genesis), out / FILE
    if path.exists() and path.read_bytes() != content:
        raise ConfigError(f"{path} is of another run: choose an empty folder")
    path.write_bytes(content)
    sys.stdout.write(f"wrote {path}: run {settings.name}, SHA-256 {canonical.digest(genesis)}\n")
    return 0
