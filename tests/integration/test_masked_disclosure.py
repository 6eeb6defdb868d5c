"""In the masked tier the coordinator is told of no worker's loss, norm or saturation: nowhere."""

import contextlib
import dataclasses
import os
import re
import struct
import typing
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from typing_extensions import override

from commands.demo.layout import COORDINATOR
from common import documents
from coordinator.saved_round import SavedRound
from protos.v1 import bulk_pb2, session_pb2
from services.coordinator.live.embedded_valkey import EmbeddedValkey
from tests.rig.rounds.masked_cohort import Cohort, masked_cohort
from tests.rig.rounds.masked_round import Loss
from tests.rig.workers.masked_light_worker import MaskedLightWorker

NAMES = ("aws", "azure", "gcp", "onprem")
OF_ONE_UPDATE = re.compile("loss|norm|clip|satur|energy|grad|perplex|accura")


def field_names(message: Descriptor) -> Iterator[str]:
    for f in message.fields:
        yield f.name
        if f.message_type is not None:
            yield from field_names(f.message_type)


@pytest.mark.parametrize(
    "message", [session_pb2.ConnectRequest, bulk_pb2.Shard], ids=lambda m: m.__name__
)
def test_no_message_of_a_worker_has_a_field_for_it(message: typing.Any) -> None:
    names = list(field_names(message.DESCRIPTOR))
    assert "payload" in names or "tokens_total" in names
    assert not [n for n in names if OF_ONE_UPDATE.search(n)]


def document_fields(kind: type) -> Iterator[str]:
    hints = typing.get_type_hints(kind)
    for f in dataclasses.fields(kind):
        yield f.name
        for part in (hints[f.name], *typing.get_args(hints[f.name])):
            if dataclasses.is_dataclass(part) and isinstance(part, type):
                yield from document_fields(part)


@pytest.mark.parametrize(
    "kind",
    [
        *(documents.Offer, documents.Answer, documents.Attestation, documents.Plan),
        *(documents.WorkerCounters, SavedRound),
    ],
)
def test_no_document_about_one_worker_has_a_field_for_it(kind: type) -> None:
    names = list(document_fields(kind))
    assert "tokens" in names or "digest" in names or "threshold" in names
    assert not [n for n in names if OF_ONE_UPDATE.search(n)]


@dataclass
class Watched(Cohort):
    """Reads, before each step of a round, whatever the coordinator shows or keeps.

    Args:
        store: URL of the server that it keeps its live state in.
        seen: what was read, by where.
    """

    store: str = ""
    seen: dict[str, bytes] = field(default_factory=dict)

    @override
    def step(self, loss: Loss, names: tuple[str, ...], lost: Mapping[str, Loss]) -> tuple[str, ...]:
        self.look()
        return super().step(loss, names, lost)

    def look(self) -> None:
        def see(where: str, content: bytes) -> None:
            self.seen[where] = self.seen.get(where, b"") + content

        layout = self.coordinator.layout
        for folder, _, files in os.walk(layout.state(COORDINATOR)):
            for name in files:
                with contextlib.suppress(OSError):  # of the spool, dropped meanwhile; or a socket
                    see(name, (Path(folder) / name).read_bytes())
        see("its log", layout.log(COORDINATOR).read_bytes())
        see("status", repr(self.coordinator.status()).encode())
        url = f"http://127.0.0.1:{layout.metrics_ports[COORDINATOR]}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            see("metrics", answer.read())
        with Redis.from_url(self.store) as client:
            for key in client.scan_iter():
                is_hash = client.type(key) == b"hash"
                see("the store", repr(client.hgetall(key) if is_hash else client.get(key)).encode())


def test_no_worker_s_loss_is_anywhere_in_what_the_coordinator_shows_or_keeps(
    tmp_path: Path,
) -> None:
    with (
        EmbeddedValkey(tmp_path / "store") as server,
        masked_cohort(tmp_path / "run", NAMES, redis_url=server.url) as made,
    ):
        cohort = Watched(made.coordinator, NAMES, made.stack, store=server.url)
        for i, name in enumerate(NAMES):
            cohort.connect(name).loss_2_20 = 1_234_567 + 7919 * i
        record = cohort.play({})
        assert record.commit is not None
        cohort.check(record.commit)
        cohort.play({"gcp": Loss.SHARES})
        cohort.look()

    seen = cohort.seen
    assert {"its log", "status", "metrics", "the store"} < seen.keys()
    assert b"share_keys" in seen["the store"]
    assert str(record.commit.side_values.loss_2_20).encode() in b"".join(
        seen.values()
    )  # it would show
    for worker in cohort.workers.values():
        for where, content in seen.items():
            found = [form for form in forms(worker) if form in content]
            assert not found, f"{where} shows the loss of {worker.name}: {found}"
    of_a_worker = {
        s.name
        for family in text_string_to_metric_families(seen["metrics"].decode())
        for s in family.samples
        if "worker" in s.labels
    }
    assert of_a_worker
    assert not [n for n in of_a_worker if OF_ONE_UPDATE.search(n)]


def forms(worker: MaskedLightWorker) -> list[bytes]:
    """Return how a worker's loss could be written."""
    nats = worker.loss_2_20 / 2**20
    return [
        str(worker.loss_2_20).encode(),
        f"{nats:.6f}".encode(),
        repr(nats).encode(),
        struct.pack("<Q", worker.loss_2_20),
        struct.pack("<d", nats),
    ]
