"""How a run begins: a learner's initial parameters become version 0, one document names it all."""

from collections.abc import Mapping

import numpy as np

from common import canonical
from common.arrays import F32
from common.canonical import Json
from common.chain import genesis_version
from common.documents import Algorithm, Genesis, Stop
from services.data_store import DataStore
from worker.learner import LearnerContext, load_learner
from worker.model import ParameterVector


def make_genesis(
    *,
    run: str,
    seed: int,
    learner: str,
    settings: Mapping[str, Json],
    algorithm: Algorithm,
    stop: Stop,
    store: DataStore,
) -> Genesis:
    """Build the learner once, without data, and store version 0.

    Args:
        run: the run's name.
        seed: of the initial parameters and of the rotation's signs.
        learner: "package.module:build".
        settings: the learner's own.
        algorithm: what a round computes.
        stop: when the run ends.
        store: gets the version's files and its document; synced.

    Raises:
        ConfigError: the learner cannot be built; says what to change.
    """
    context = LearnerContext(settings=settings, data=None, seed=seed, name="genesis")
    vector = ParameterVector(load_learner(learner)(context))

    def read_theta(start: int, stop: int) -> F32:
        return vector.read(start, stop, np.empty(stop - start, np.float32))

    version = genesis_version(vector.schema, algorithm, read_theta, store.write)
    version0 = store.write(canonical.encode(version))
    store.sync()
    return Genesis(run, seed, learner, settings, vector.schema, version0, algorithm, stop)
