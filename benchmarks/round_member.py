"""One worker's part in one round, as a process of its own: all but the training.

    python -m benchmarks.round_member WORKER.yaml VALUES

VALUES holds theta.f32 and former.f32, what a trainer leaves at close and the residual before it.
What a worker does with them is what `services/worker/driver.py` does: read, encode, protect, write
the payload, send it. It
prints one line of JSON: when what happened, in seconds of the machine's monotonic clock.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any, Final, Self

from typing_extensions import override

from common import canonical
from common.documents import Genesis, Plan, Version
from common.ids import RoundId, WorkerId
from protos.v1 import session_pb2
from services.config.genesis_file import first_files, load_genesis
from services.config.settings import load_worker
from services.disk.data_store import DataStore
from services.worker.state import SaveFiles
from services.worker.upload import Payload, encode_payload
from tests.rig.workers.light_worker import LightWorker, credentials
from tests.rig.workers.masked_light_worker import MaskedLightWorker
from worker.rounds.attempt import MaskedAttempt
from worker.rounds.tls_tier import TlsAttempt

PATIENCE_S: Final = 120.0


class Arrivals(LightWorker):
    """Remembers when the newest message of each kind came."""

    @override
    def __enter__(self) -> Self:
        super().__enter__()
        self.came_s = dict[str, float]()
        return self

    @override
    def next_message(self, timeout_s: float) -> tuple[session_pb2.ConnectResponse | None, float]:
        """See `LightWorker`."""
        message, at_s = super().next_message(timeout_s)
        if message is not None:
            self.came_s[str(message.WhichOneof("message"))] = at_s
        return message, at_s


class MaskedArrivals(Arrivals, MaskedLightWorker):
    """The same of a worker that speaks the masked protocol."""


def play(worker: Arrivals, genesis: Genesis, blobs: DataStore, values: Path) -> Mapping[str, float]:
    """Take part in the run's first round; return when what happened."""
    worker.join()
    worker.offer()
    plan = worker.receive_plan()
    worker.answer(plan)
    attempt: MaskedAttempt | TlsAttempt = TlsAttempt(WorkerId(worker.name), plan)
    if isinstance(worker, MaskedLightWorker):
        worker.be_named(plan)
        assert worker.attempt is not None
        attempt = worker.attempt
    else:
        worker.receive("members")
    with _encoded(worker, genesis, blobs, values, plan, attempt) as payload:
        encoded_s, num_shards = time.monotonic(), payload.layout.num_shards
        round_id = RoundId(plan.round)
        worker.link.push(round_id, num_shards, payload.read_shard, give_up=Event())
    uploaded_s = time.monotonic()
    if isinstance(worker, MaskedLightWorker):
        assert not worker.sign_list(), "somebody's upload is missing"
        worker.reveal(plan, signed=False)
    commit = worker.receive_record("commit").commit
    assert commit is not None
    assert len(commit.survivors) == len(plan.offers)
    return {
        "plan": worker.came_s["plan"],
        "members": worker.came_s["members"],
        "encoded": encoded_s,
        "uploaded": uploaded_s,
        "record": worker.came_s["outcome"],
    }


def _encoded(
    worker: LightWorker,
    genesis: Genesis,
    blobs: DataStore,
    values: Path,
    plan: Plan,
    attempt: MaskedAttempt | TlsAttempt,
) -> Payload:
    numbers = worker.numbers()  # everybody's
    return encode_payload(
        genesis,
        canonical.decode(blobs.read(genesis.version0), Version),
        plan,
        {offer.worker: numbers for offer in plan.offers},
        WorkerId(worker.name),
        2**20,
        own_clip=float("inf"),
        protect=attempt.protect,
        read_blob=blobs.read,
        stage=SaveFiles(values),
        residual=values / "former.f32",
    )


def main() -> int:
    """Play one round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, help="the worker's YAML file")
    parser.add_argument("values", type=Path, help="folder of theta.f32 and former.f32")
    args = parser.parse_args()
    config, values = args.config, args.values
    settings = load_worker(config, environ={})
    genesis, certs = load_genesis(settings.genesis), settings.tls.ca.parent
    arguments: dict[str, Any] = {
        "name": settings.name,
        "genesis": genesis,
        "control": settings.coordinator.control,
        "bulk": settings.coordinator.bulk,
        "credentials": credentials(certs, settings.name),
        "timeout_s": PATIENCE_S,
    }
    masked = genesis.algorithm.masked
    made = MaskedArrivals(**arguments, certs=certs) if masked else Arrivals(**arguments)
    with made as worker:
        assert isinstance(worker, Arrivals)
        marks = play(worker, genesis, DataStore(first_files(settings.genesis)), values)
    sys.stdout.write(json.dumps(marks) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
