"""Makes version 0 from the run's seed, where a learner is built anyway: nobody has to send it.

Machines need not compute the same initial parameters, and a learner of one's own may not: the
digest in the genesis says whether they are these. Else version 0 is downloaded like any other.
"""

import numpy as np

from common import canonical
from common.arrays import F32
from common.canonical import digest_of
from common.chain import WriteBlob, genesis_version
from common.documents import Genesis, Version
from services.disk.data_store import DataStore
from worker.training.model import ParameterVector


def make_first_version(genesis: Genesis, vector: ParameterVector, store: DataStore) -> bool:
    """Store version 0's files, if `vector` still holds its parameters; return whether it does."""
    if vector.schema != genesis.schema:
        return False

    def theta(start: int, stop: int) -> F32:
        return vector.read(start, stop, np.empty(stop - start, np.float32))

    def made(write: WriteBlob) -> Version:
        return genesis_version(vector.schema, genesis.algorithm, genesis.seed, theta, write)

    if canonical.digest(made(digest_of)) != genesis.version0:
        return False
    store.write(canonical.encode(made(store.write)))
    return True
