"""How a run begins: a learner's initial parameters become version 0.

One document, the genesis, names everything that the run's processes have in common.
"""

import logging
from collections.abc import Mapping
from typing import Final

import numpy as np

from common import canonical
from common.arrays import F32
from common.canonical import Json
from common.chain import genesis_version
from common.documents import Algorithm, Genesis, Stop
from common.progress import float32_bytes
from services.disk.data_store import DataStore
from services.observe.amounts import human_bytes
from services.observe.process_memory import available_bytes
from services.observe.progress import Outlet, shown
from services.versions.rehearsal import rehearse
from worker.training.learner import PINNING, Learner, LearnerContext, make_learner
from worker.training.model import ParameterVector

log = logging.getLogger(__name__)

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
        store: gets the version's segments and its document; synced.
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
