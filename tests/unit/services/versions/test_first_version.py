from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.documents import Algorithm, Genesis, Stop
from services.disk.data_store import DataStore
from services.versions.first_version import make_first_version
from services.versions.genesis import make_genesis
from worker.training.learner import LearnerContext, load_learner
from worker.training.model import ParameterVector

LEARNER = "examples.own_learner:build"
SETTINGS = {"width": 8}


@pytest.fixture
def genesis(tmp_path: Path) -> Genesis:
    return make_genesis(
        run="small",
        seed=3,
        learner=LEARNER,
        settings=SETTINGS,
        algorithm=Algorithm(),
        stop=Stop(versions=1),
        store=DataStore(tmp_path / "genesis"),
    )


def built(seed: int) -> ParameterVector:
    """Return the parameters as another machine builds them."""
    context = LearnerContext(settings=SETTINGS, data=None, seed=seed, name="gcp")
    return ParameterVector(load_learner(LEARNER)(context))


def names(store: DataStore) -> set[str]:
    return {path.name for path in store.root.iterdir()}


def test_a_learner_of_the_run_s_seed_gives_the_files_of_version_0(
    genesis: Genesis, tmp_path: Path
) -> None:
    store = DataStore(tmp_path / "mine")
    assert make_first_version(genesis, built(seed=3), store)
    assert names(store) == names(DataStore(tmp_path / "genesis"))
    assert store.damaged(names(store)) == []  # type: ignore[arg-type]
    assert genesis.version0 in names(store)


@pytest.mark.parametrize("what", ["seed", "bits", "schema"])
def test_what_is_not_version_0_is_not_stored(genesis: Genesis, tmp_path: Path, what: str) -> None:
    vector, store = built(seed=4 if what == "seed" else 3), DataStore(tmp_path / "mine")
    if what == "bits":  # a machine that rounds otherwise
        vector.add(5, np.full(1, 1e-6, np.float32))
    if what == "schema":
        schema = replace(genesis.schema, parameters=genesis.schema.parameters[:-1])
        genesis = replace(genesis, schema=schema)
    assert not make_first_version(genesis, vector, store)
    assert names(store) == set()
