"""A worker without a learner: the real protocol by hand, so that a test can say anything."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Self, TypeVar

import grpc

from common import canonical
from common.documents import (
    PROTOCOL,
    Abort,
    Answer,
    Commit,
    Control,
    Genesis,
    Numbers,
    Offer,
    Plan,
    Record,
    Rollback,
)
from common.ids import RoundId, WorkerId
from common.selftest import selftest_digest
from common.shards import PayloadLayout
from common.terms import round_layout
from protos.v1 import bulk_pb2, bulk_pb2_grpc, operator_pb2_grpc, session_pb2, session_pb2_grpc
from services.wire.bulk_link import BulkLink
from services.wire.channels import OPTIONS

TIMEOUT_S = 60.0

Body = TypeVar("Body", Commit, Abort, Control, Rollback)
BOOT = "00" * 8


def credentials(folder: Path, name: str) -> grpc.ChannelCredentials:
    """Read NAME.pem and NAME.key in a folder of certificates."""
    return grpc.ssl_channel_credentials(
        (folder / "ca.pem").read_bytes(),
        (folder / f"{name}.key").read_bytes(),
        (folder / f"{name}.pem").read_bytes(),
    )


class StreamEndedError(AssertionError):
    """The coordinator ended a stream without an error, and nothing that was waited for came."""


@dataclass
class LightWorker:
    """One worker's streams. A context manager; `join` opens the control stream."""

    name: str
    genesis: Genesis
    control: str
    bulk: str
    credentials: grpc.ChannelCredentials
    boot: str = BOOT
    timeout_s: float = TIMEOUT_S
    records: list[Record] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._control = grpc.secure_channel(self.control, self.credentials, OPTIONS)
        self._bulk = grpc.secure_channel(self.bulk, self.credentials, OPTIONS)
        self._closing = threading.Event()
        self.link = BulkLink(self._bulk, self._closing)
        self.session = session_pb2_grpc.SessionStub(self._control)
        self.operator = operator_pb2_grpc.OperatorStub(self._control)
        self.shards = bulk_pb2_grpc.BulkStub(self._bulk)
        self._outgoing: SimpleQueue[session_pb2.ConnectRequest | None] = SimpleQueue()
        self._incoming: SimpleQueue[tuple[Any, float]] = SimpleQueue()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._outgoing.put(None)
        self._control.close()
        self._bulk.close()

    def join_message(self, **changes: Any) -> session_pb2.Join:
        """Return a Join that is admitted, but for `changes`."""
        fields: Mapping[str, Any] = {
            "protocol": PROTOCOL,
            "software": "test",
            "features": ["tls", "masked"],
            "genesis_hash": bytes.fromhex(canonical.digest(self.genesis)),
            "schema_hash": bytes.fromhex(self.genesis.schema.hash),
            "self_test": bytes.fromhex(selftest_digest()),
            "boot": self.boot,
            "digest": bytes.fromhex(self.genesis.version0),
            "speed": 100,
        }
        return session_pb2.Join(**{**fields, **changes})

    def join(self, **changes: Any) -> session_pb2.Welcome:
        """Open the control stream.

        Raises:
            grpc.RpcError: refused.
        """
        self.send(join=self.join_message(**changes))
        self._call: Any = self.session.Connect(self._requests())
        threading.Thread(target=self._read, daemon=True).start()
        return self.receive("welcome")

    def send(self, **message: Any) -> None:
        """Queue one message by the name of its field."""
        self._outgoing.put(session_pb2.ConnectRequest(**message))

    def receive(self, kind: str) -> Any:
        """Return the next message of a kind; records that come before are kept in `records`.

        Raises:
            grpc.RpcError: the stream ended with an error.
            AssertionError: nothing of the kind came.
        """
        while True:
            message, _ = self.next_message(self.timeout_s)
            if message is None:
                heard = [str(r)[:300] for r in self.records]
                raise AssertionError(f"{self.name} waited for {kind} in vain; it has {heard}")
            if message.WhichOneof("message") == kind:
                return getattr(message, kind)

    def ended(self) -> grpc.StatusCode:
        """Wait for the end of the control stream; return its status."""
        code: grpc.StatusCode = self._call.code()
        return code

    def next_message(self, timeout_s: float) -> tuple[session_pb2.ConnectResponse | None, float]:
        """Return the next message, None where none came, and when it came (`time.monotonic`).

        Raises:
            grpc.RpcError: the stream ended with an error.
        """
        try:
            message, at_s = self._incoming.get(timeout=timeout_s)
        except Empty:
            return None, time.monotonic()
        if isinstance(message, grpc.RpcError | StreamEndedError):
            raise message
        if message.WhichOneof("message") == "outcome":
            self.records.append(canonical.decode(message.outcome.record, Record))
        return message, at_s

    def receive_record(self, kind: str) -> Record:
        """Return the next record of a kind: "commit", "abort", ..."""
        seen = 0
        while True:
            while seen < len(self.records):
                if getattr(self.records[seen], kind) is not None:
                    return self.records.pop(seen)
                seen += 1
            self.receive("outcome")

    def receive_body(self, kind: type[Body]) -> Body:
        """Return what the next record of a kind says."""
        name = kind.__name__.lower()
        body = getattr(self.receive_record(name), name)
        assert isinstance(body, kind)
        return body

    def offer(self, version: int = 0, digest: str = "", **changes: Any) -> Offer:
        """Send an offer and return it."""
        offer = self.unsigned_offer(version, digest, **changes)
        self.send(offer=session_pb2.SubmitOffer(offer=canonical.encode(offer)))
        return offer

    def unsigned_offer(self, version: int = 0, digest: str = "", **changes: Any) -> Offer:
        """Return an offer that is in order, but for `changes`."""
        fields: Mapping[str, Any] = {
            "run": self.genesis.run,
            "worker": WorkerId(self.name),
            "boot": self.boot,
            "nonce": "ab" * 16,
            "version": version,
            "digest": digest or self.genesis.version0,
            "tokens": 1000,
            "lr_sum": 1.0,
            "age_256": 0,
            "steps": 10,
            "speed": 100,
            "link_bps": 0,
        }
        return Offer(**{**fields, **changes})

    def numbers(self) -> Numbers:
        """Return numbers at close that are in order."""
        return Numbers(1000, 0.01, 0, 65535, 10, 10)

    def answer(self, plan: Plan, numbers: Numbers | None = None) -> None:
        """Send the numbers at close."""
        answer = Answer(canonical.digest(plan), WorkerId(self.name), numbers or self.numbers())
        raw_id, content = bytes.fromhex(plan.round), canonical.encode(answer)
        self.send(answer=session_pb2.SubmitAnswer(round_id=raw_id, answer=content))

    def receive_plan(self) -> Plan:
        """Wait for the plan."""
        return canonical.decode(self.receive("plan").plan, Plan)

    def layout(self, plan: Plan) -> PayloadLayout:
        """Return where the payload's shards are."""
        return round_layout(self.genesis, plan.bits, plan.fragment)

    def push(self, *shards: tuple[bytes, int, bytes]) -> bulk_pb2.PushShardsResponse:
        """Upload (round id, index, payload) in one stream.

        Raises:
            grpc.RpcError: refused.
        """
        messages = (bulk_pb2.Shard(round_id=r, index=i, payload=p) for r, i, p in shards)
        return self.shards.PushShards(messages, timeout=TIMEOUT_S)

    def upload(self, plan: Plan, read_shard: Callable[[int], bytes]) -> None:
        """Upload as a worker does: resumed until the coordinator has every shard."""
        num_shards = self.layout(plan).num_shards
        self.link.push(RoundId(plan.round), num_shards, read_shard, give_up=threading.Event())

    def _requests(self) -> Iterator[session_pb2.ConnectRequest]:
        while (message := self._outgoing.get()) is not None:
            yield message

    def _read(self) -> None:
        try:
            for response in self._call:
                self._incoming.put((response, time.monotonic()))
            self._incoming.put((StreamEndedError(f"{self.name}'s stream ended"), time.monotonic()))
        except grpc.RpcError as e:
            self._incoming.put((e, time.monotonic()))
