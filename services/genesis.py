"""How a run begins: `crosscloud genesis` makes genesis.json and the first version's files, once.

A learner's initial parameters become version 0, and one document names everything that the run's
processes have in common. It refuses to replace another genesis: processes pin it by its digest, so
a new one is a new run.
"""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from common import canonical
from common.arrays import F32
from common.border import border
from common.canonical import Json
from common.chain import genesis_version
from common.documents import Algorithm, Genesis, Stop
from common.errors import ConfigError, MalformedDocumentError
from common.progress import float32_bytes
from services.amounts import human_bytes
from services.data_store import DataStore
from services.exit_status import Exit
from services.files import replace_file
from services.genesis_file import MOST_BYTES
from services.places import check_folder
from services.process_memory import available_bytes
from services.progress import Outlet, outlet, shown
from services.rehearsal import rehearse
from services.settings import RunSettings, load_run
from services.small_file import read_small
from services.soundness import loud
from worker.learner import PINNING, Learner, LearnerContext, make_learner
from worker.model import ParameterVector

log = logging.getLogger(__name__)

FILE: Final = "genesis.json"
DATA: Final = "data"
_COPIES: Final = 3
"""Of the parameters, that one step needs at least."""


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
    folders: Mapping[str, str] | None = None,
) -> Genesis:
    """Build the learner once, without data, let it take one step, and store version 0.

    Args:
        run: the run's name.
        seed: of the initial parameters and of the rotation's signs.
        learner: "package.module:build".
        settings: the learner's own.
        algorithm: what a round computes.
        stop: when the run ends.
        store: gets the version's leaves and its document; synced.
        out: where people see how far it is.
        folders: as `LearnerContext` has them.

    Raises:
        ConfigError: the learner cannot be built, or take a step; says what to change.
    """
    context = LearnerContext(settings, None, seed, PINNING, folders=folders or {})
    with shown("building the model", out=out):
        made = make_learner(learner, context)
    vector = ParameterVector(made)
    with shown("taking one step", out=out):
        _rehearse(made, float32_bytes(vector.schema))
    with shown("writing the first version", 4 * vector.schema.length, out=out) as progress:

        def theta(start: int, stop: int) -> F32:
            progress.advance(4 * (stop - start))
            return vector.read(start, stop, np.empty(stop - start, np.float32))

        version = genesis_version(vector.schema, algorithm, seed, theta, store.write)
    version0 = store.write(canonical.encode(version))
    store.sync()
    return Genesis(run, seed, learner, settings, vector.schema, version0, algorithm, stop)


def _rehearse(learner: Learner, model_bytes: int) -> None:
    """Take one step of one window: what never took a step is not pinned.

    Parameters are there; a gradient and what passes through it come on top.
    """
    available = available_bytes()
    if available is not None and available < (_COPIES - 1) * model_bytes:
        log.warning(
            "no step was tried: %s of memory are left here, and it takes %s; run `crosscloud "
            "doctor` on a worker before the run begins",
            human_bytes(available),
            human_bytes((_COPIES - 1) * model_bytes),
        )
        return
    if rehearse(learner.rehearse) is None:
        log.info("no step was tried: this learner has no `rehearse`")


def main(config: Path, out: Path) -> Exit:
    """Write `out/genesis.json` and `out/data/`, and say where they are; all of it or nothing."""
    settings = load_run(config)
    with _all_or_nothing(out):
        genesis = _written(settings, out)
    digest = canonical.digest(genesis)
    sys.stdout.write(f"wrote {out / FILE}: run {settings.name}, SHA-256 {digest}\n")
    return Exit.OVER


@contextmanager
def _all_or_nothing(out: Path) -> Iterator[None]:
    """Take away what a genesis that is refused or interrupted inside has written."""
    data = out / DATA
    new = [folder for folder in (data, out, *out.parents) if not folder.exists()]
    before = {path.name for path in data.iterdir()} if data.is_dir() else set()
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for path in data.iterdir():
                if path.name not in before:
                    path.unlink()
        for folder in new:
            with suppress(OSError):
                folder.rmdir()
        raise


def _written(settings: RunSettings, out: Path) -> Genesis:
    path = out / FILE
    check_folder("--out", out)
    check_folder("--out", out / DATA)
    there = _genesis_in(path)
    if there is not None and not _is_of(there, settings):
        raise ConfigError(f"{path} is of another run: choose an empty folder")
    for sentence in loud(settings.algorithm):
        log.warning("%s", sentence)
    genesis = make_genesis(
        run=settings.name,
        seed=settings.seed,
        learner=settings.learner,
        settings=settings.settings,
        algorithm=settings.algorithm,
        stop=settings.stop,
        store=DataStore(out / DATA),
        out=outlet(),
        folders=settings.folders,
    )
    if there is not None and canonical.encode(there) != canonical.encode(genesis):
        raise ConfigError(
            f"{path} is of the same settings but of another first version: another machine, "
            "library or learner has made it; keep it, or choose an empty folder"
        )
    with border("--out", f"{path} cannot be written", "choose another folder"):
        replace_file(path, canonical.encode(genesis), mode=0o666)
    return genesis


def _genesis_in(path: Path) -> Genesis | None:
    """Return the genesis that is there already; None where there is none."""
    if not os.path.lexists(path):
        return None
    with border("--out", f"{path} cannot be read", "move it away, or choose another folder"):
        content = read_small(path, MOST_BYTES).rstrip(b"\n")
    try:
        return canonical.decode(content, Genesis)
    except MalformedDocumentError:
        raise ConfigError(
            f"{path} ({len(content)} bytes) is no genesis, or a part of one that a kill has left: "
            "move it away, or choose an empty folder"
        ) from None


def _is_of(there: Genesis, settings: RunSettings) -> bool:
    """Return whether a genesis was made of these settings, as far as they tell before it is."""
    asked = replace(
        there,
        run=settings.name,
        seed=settings.seed,
        learner=settings.learner,
        settings=settings.settings,
        algorithm=settings.algorithm,
        stop=settings.stop,
    )
    return canonical.encode(asked) == canonical.encode(there)
