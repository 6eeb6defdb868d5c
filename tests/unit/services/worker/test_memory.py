"""What a worker holds does not grow with the model, but for the learner's own tensors."""

import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from common.chain import advance
from common.documents import Algorithm
from common.schema import SEGMENT, ModelSchema, TensorSpec
from services.disk.data_store import DataStore
from services.worker.state import SaveFiles
from services.worker.upload import encode_payload
from simulator.learner import Counting
from tests.rig.rounds.small_run import TLS, WORKERS, Run, bytes_of
from worker.rounds.tls_tier import TlsAttempt
from worker.training.train import Trainer

SIZES = (2, 4)  # segments
MIB = 2**20


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def stored_run(folder: Path, num_segments: int) -> tuple[Run, DataStore]:
    schema = ModelSchema((TensorSpec("w", (num_segments * SEGMENT,)),))
    run = Run(TLS, schema, np.zeros(schema.length, np.float32))
    store = DataStore(folder)
    for content in run.blobs.files.values():
        store.write(content)
    return run, store


def encoding(folder: Path, num_segments: int) -> int:
    run, store = stored_run(folder / "data", num_segments)
    stage, residual = SaveFiles(folder), folder / "former.f32"
    for path in (stage.theta, residual):
        np.full(run.schema.length, 0.01, "<f4").tofile(path)
    arguments = (run.genesis, run.version, run.plan(), run.numbers(), WORKERS[0], 0)

    def work() -> None:
        with encode_payload(
            *arguments,
            read_blob=store.read,
            stage=stage,
            residual=residual,
            protect=TlsAttempt(WORKERS[0], arguments[2]).protect,
            own_clip=math.inf,
        ):
            pass

    return peak(work)


def replaying(folder: Path, num_segments: int) -> int:
    run, store = stored_run(folder / "data", num_segments)
    thetas = {w: np.full(run.schema.length, 0.01, np.float32) for w in WORKERS}
    commit, content = run.commit(thetas)
    read = bytes_of(content)
    return peak(lambda: advance(run.genesis, run.version, commit, read, store.read, store.write))


def saving(folder: Path, num_segments: int) -> int:
    trainer = Trainer(Counting(num_segments * SEGMENT, 0), Algorithm())
    trainer.step()
    return peak(lambda: trainer.close("round", folder / "save"))


@pytest.mark.parametrize("measure", [encoding, replaying, saving])
def test_memory_does_not_grow_with_the_model(
    measure: Callable[[Path, int], int], tmp_path: Path
) -> None:
    first, small, large = (tmp_path / name for name in ("first", "small", "large"))
    for folder in (first, small, large):
        folder.mkdir()

    measure(first, SIZES[0])  # what is loaded once is no part of it
    grown = measure(large, SIZES[1]) - measure(small, SIZES[0])

    assert grown < MIB  # of 8 more in one vector
