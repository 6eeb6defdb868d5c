"""A worker without a learner: the real protocol, the real uploader, made-up values of any size."""

import threading
from collections.abc import Iterator
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Final, Self

import grpc
import numpy as np

from common import canonical
from common.documents import PROTOCOL, Genesis, Lanes, Numbers, Offer, Plan, Record
from common.ids import RoundId, WorkerId
from common.scales import levels
from common.selftest import selftest_digest
from common.shards import SHARD_BYTES, PayloadLayout, pack_lanes
from protos.v1 import session_pb2, session_pb2_grpc
from services.bulk_link import BulkLink

_BOOT: Final = "00" * 8
_NUMBERS: Final = Numbers(
    tokens=1000, lr_sum=1.0, age_256=0, staleness_65535=65535, steps=10, samples=10
)
_SEVEN_PAGES: Final = 7 * 4096


class MadeUpPayload:
    """Random values that an honest member could have sent; no two shards are alike.

    Args:
        layout: of the payload.
        codec: "dense" (8 bits) or "float32".
        num_members: of the cohort.
        v: V of the worker's lanes.
    """

    def __init__(self, layout: PayloadLayout, codec: str, num_members: int, v: int) -> None:
        self._layout = layout
        draw = np.random.default_rng(layout.length)
        num_bytes = 8 * SHARD_BYTES
        if codec == "float32":
            values = draw.standard_normal(num_bytes // 4, np.float32) * np.float32(0.01)
            self._pool = values.tobytes()
        else:
            assert layout.bits == 8
            most = levels(8, num_members)
            self._pool = draw.integers(-most, most, num_bytes, np.int8, endpoint=True).tobytes()
        self._lanes = pack_lanes(Lanes(v, 0, 0), np.full(layout.num_blocks, 256, np.uint32))

    def read_shard(self, index: int) -> bytes:
        """Return the bytes of one shard."""
        offset, length = self._layout.shard(index)
        if offset >= self._layout.lanes_offset:
            start = offset - self._layout.lanes_offset
            return self._lanes[start : start + length]
        at = index * _SEVEN_PAGES % (len(self._pool) - SHARD_BYTES)
        return self._pool[at : at + length]


class LightWorker:
    """One worker's two channels; a context manager."""

    def __init__(
        self,
        name: str,
        genesis: Genesis,
        control: str,
        bulk: str,
        credentials: grpc.ChannelCredentials,
    ) -> None:
        self._name, self._genesis = name, genesis
        self._control = grpc.secure_channel(control, credentials)
        self._never = threading.Event()
        self._bulk = BulkLink(grpc.secure_channel(bulk, credentials), self._never)
        self._outgoing: SimpleQueue[session_pb2.ConnectRequest | None] = SimpleQueue()

    def __enter__(self) -> Self:
        join = session_pb2.Join(
            protocol=PROTOCOL,
            software="benchmark",
            features=["tls"],
            genesis_hash=bytes.fromhex(canonical.digest(self._genesis)),
            schema_hash=bytes.fromhex(self._genesis.schema.hash),
            self_test=bytes.fromhex(selftest_digest()),
            boot=_BOOT,
            digest=bytes.fromhex(self._genesis.version0),
            speed=100,
        )
        self._send(join=join)
        stub = session_pb2_grpc.SessionStub(self._control)
        self._incoming = stub.Connect(self._requests())
        self._receive("welcome")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None
    ) -> None:
        self._outgoing.put(None)
        self._control.close()
        self._bulk.close()

    def contribute(self) -> None:
        """Offer, wait for the plan, and upload; returns once the coordinator has every shard."""
        offer = Offer(
            run=self._genesis.run,
            worker=WorkerId(self._name),
            boot=_BOOT,
            nonce="ab" * 16,
            version=0,
            digest=self._genesis.version0,
            tokens=_NUMBERS.tokens,
            lr_sum=_NUMBERS.lr_sum,
            age_256=0,
            steps=_NUMBERS.steps,
            speed=100,
            link_bps=0,
        )
        self._send(offer=session_pb2.SubmitOffer(offer=canonical.encode(offer)))
        plan = canonical.decode(self._receive("plan").plan, Plan)
        answer = session_pb2.SubmitNumbers(
            round_id=bytes.fromhex(plan.round), numbers=canonical.encode(_NUMBERS)
        )
        self._send(numbers=answer)
        self._receive("members")
        layout = PayloadLayout(self._genesis.schema.length, plan.bits)
        codec = self._genesis.algorithm.codec.kind
        payload = MadeUpPayload(layout, codec, len(plan.offers), v=65535)
        round_id = RoundId(plan.round)
        self._bulk.push(round_id, layout.num_shards, payload.read_shard, give_up=self._never)

    def wait_for_commit(self) -> Record:
        """Return the record of the round."""
        while True:
            record = canonical.decode(self._receive("outcome").record, Record)
            if record.abort is not None:
                raise AssertionError(f"the round was aborted: {record.abort}")
            if record.commit is not None:
                return record

    def _send(self, **message: Any) -> None:
        self._outgoing.put(session_pb2.ConnectRequest(**message))

    def _requests(self) -> Iterator[session_pb2.ConnectRequest]:
        while (message := self._outgoing.get()) is not None:
            yield message

    def _receive(self, kind: str) -> Any:
        for response in self._incoming:
            if response.WhichOneof("message") == kind:
                return getattr(response, kind)
        raise AssertionError(f"{self._name} waited for {kind} in vain")
