"""How a run begins: `crosscloud genesis` makes genesis.json and the first version's files, once.

A learner's initial parameters become version 0, and one document names everything that the run's
processes have in common. It refuses to replace another genesis: processes pin it by its digest, so
a new one is a new run.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from common import canonical
from common.arrays import F32
from common.canonical import Json
from common.chain import genesis_version
from common.documents import Algorithm, Genesis, Stop
from common.errors import ConfigError
from services.data_store import DataStore
from services.exit_status import Exit
from services.progress import Outlet, outlet, shown
from services.settings import load_run
from worker.learner import LearnerContext, make_learner
from worker.model import ParameterVector

FILE: Final = "genesis.json"
DATA: Final = "data"


def make_genesis(
    *,
    run: str,
    seed: int,
    learner: str,
    settings: Mapping[str, Json],
    algorithm: Algorithm,
    stop: Stop,
    store: DataStore,
    out: Outlet | None = None,
) -> Genesis:
    """Build the learner once, without data, and store version 0.

    Args:
        run: the run's name.
        seed: of the initial parameters and of the rotation's signs.
        learner: "package.module:build".
        settings: the learner's own.
        algorithm: what a round computes.
        stop: when the run ends.
        store: gets the version's leaves and its document; synced.
        out: where people see how far it is.

    Raises:
        ConfigError: the learner cannot be built; says what to change.
    """
    context = LearnerContext(settings=settings, data=None, seed=seed, name="genesis")
    with shown("building the model", out=out):
        made = make_learner(learner, context)
    vector = ParameterVector(made)
    with shown("writing the first version", 4 * vector.schema.length, out=out) as progress:

        def theta(start: int, stop: int) -> F32:
            progress.advance(4 * (stop - start))
            return vector.read(start, stop, np.empty(stop - start, np.float32))

        version = genesis_version(vector.schema, algorithm, seed, theta, store.write)
    version0 = store.write(canonical.encode(version))
    store.sync()
    return Genesis(run, seed, learner, settings, vector.schema, version0, algorithm, stop)


def main(config: Path, out: Path) -> Exit:
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
        out=outlet(),
    )
    content, path = canonical.encode(genesis), out / FILE
    if path.exists() and path.read_bytes() != content:
        raise ConfigError(f"{path} is of another run: choose an empty folder")
    path.write_bytes(content)
    sys.stdout.write(f"wrote {path}: run {settings.name}, SHA-256 {canonical.digest(genesis)}\n")
    return Exit.OVER
