"""The bulk process: uploads into the spool, files out of the data store. Threads and blocking gRPC.

A process of its own, so that gigabytes share neither an interpreter nor a connection with
heartbeats. It knows nothing of rounds but what control tells it: which members may upload, and how
large a payload is. Who is calling comes from mTLS and the member list, never from the message.

Each stream has a thread, and some are spare: they refuse what is beyond the limits (`calls.py`,
`spool.py`) at once, and answer ListMissing, however many streams are open.
"""

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, Thread
from typing import Any, Final

import grpc

from common.documents import Genesis
from common.errors import (
    BusyError,
    DamagedDataError,
    ProtocolError,
    ToldToEndError,
    UnknownFileError,
)
from common.ids import Digest, RoundId, WorkerId
from common.terms import round_layout
from coordinator.ports import (
    DropSpool,
    OpenSpool,
    Progressed,
    Seal,
    Sealed,
    SpoolOpened,
    Uploaded,
)
from protos.v1 import bulk_pb2
from services.config.settings import CoordinatorSettings
from services.coordinator.calls import Calls, StreamLimits
from services.coordinator.kept.compressed_files import CompressedFiles
from services.coordinator.kept.files import CoordinatorFiles
from services.coordinator.kept.spool import Spool
from services.coordinator.messages import Carried, Drain, Drained, Serving
from services.coordinator.start import begin_child, listen, settle
from services.disk.data_store import DataStore
from services.disk.files import patiently
from services.process.descriptors import RESERVE, connections
from services.process.exit_status import Exit
from services.trust.identity import MemberList, Role, identity_of
from services.wire import framing
from services.wire.channels import bounded, server_options
from services.wire.child import Line
from services.wire.compression import part_bytes
from services.wire.credentials import server_credentials
from services.wire.framing import round_id
from services.wire.reflection import reflect
from services.wire.status import StatusInterceptor
from services.wire.traffic import wire_bytes

log = logging.getLogger(__name__)

RECEIVES: Final = (OpenSpool, Seal, DropSpool, Drain)
SENDS: Final = (*(Serving, SpoolOpened, Progressed, Uploaded, Sealed, Carried, Drained),)

_SPARE_THREADS: Final = 8
_CALLS_PER_THREAD: Final = 16
"""Calls that may wait for a spare thread; gRPC itself refuses more."""

_STREAMS_PER_CONNECTION: Final = 64
_FILES: Final = 4
"""Descriptors that one stream may need beside its connection's."""

_REPORT_INTERVAL_S: Final = 0.5

_FIXED_WINDOW: Final = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 8 * 2**20))
"""How far a stream may be ahead of the disk. Left to itself gRPC measures a window, which grows to
tens of MiB per stream where the disk is slower than the link. 8 MiB fill 670 Mbit/s at 100 ms."""


class Outbox:
    """What many threads tell control over one line; small news is saved up."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._lock = Lock()
        self._received: dict[str, int] = {}
        self._sent: dict[str, int] = {}
        self._advanced: set[WorkerId] = set()

    def send(self, message: object) -> None:
        """Send at once."""
        with self._lock:
            self._line.send(message)

    def completed(self, worker: WorkerId, round_: RoundId) -> None:
        """A member's upload is whole.

        Raises:
            BusyError: control ended meanwhile; the next one finds the shards in the spool.
        """
        try:
            self.send(Uploaded(worker, round_))
        except EOFError:
            raise BusyError("this coordinator is ending: dial again") from None

    def received(self, worker: WorkerId, num_bytes: int) -> None:
        """A message of a member's upload arrived."""
        with self._lock:
            self._received[worker] = self._received.get(worker, 0) + wire_bytes(num_bytes)
            self._advanced.add(worker)

    def sent(self, name: str, num_bytes: int) -> None:
        """A message of a download left."""
        with self._lock:
            self._sent[name] = self._sent.get(name, 0) + wire_bytes(num_bytes)

    def report(self) -> None:
        """Send what was saved up, for as long as control lives."""
        while True:
            time.sleep(_REPORT_INTERVAL_S)
            with self._lock:
                try:
                    for worker in sorted(self._advanced):
                        self._line.send(Progressed(worker))
                    if self._received or self._sent:
                        self._line.send(Carried(self._received, self._sent))
                except EOFError:
                    return
                self._received, self._sent, self._advanced = {}, {}, set()


class BulkService:
    """The three methods of protos/v1/bulk.proto, on raw message bytes."""

    def __init__(
        self,
        spool: Spool,
        store: DataStore,
        members: MemberList,
        outbox: Outbox,
        limits: StreamLimits | None = None,
    ) -> None:
        self._spool = spool
        self._store = store
        self._compressed = CompressedFiles(store)
        self._members = members
        self._outbox = outbox
        self.calls = Calls(limits or StreamLimits())

    def push_shards(self, messages: Iterator[bytes], context: Any) -> bulk_pb2.PushShardsResponse:
        """Write every shard of one stream to the spool."""
        worker = self._worker(context)
        with self.calls.by(worker, context, upload=True) as call:
            first = next(messages, None)
            if first is None:
                raise ProtocolError("an upload without shards: ask ListMissing what is missing")
            raw_id, index, payload = framing.split_shard(first)
            round_ = round_id(raw_id)
            with self._spool.receive(round_, worker, context.cancel) as upload:
                upload.put(index, payload)
                self._outbox.received(worker, len(first))
                for message in messages:
                    call.moved()
                    other_id, index, payload = framing.split_shard(message)
                    if other_id != raw_id:
                        raise ProtocolError("one stream carries the shards of one round only")
                    upload.put(index, payload)
                    self._outbox.received(worker, len(message))
                missing = upload.missing()
            if not missing:
                self._outbox.completed(worker, round_)
        return bulk_pb2.PushShardsResponse(missing=missing)

    def list_missing(
        self, request: bulk_pb2.ListMissingRequest, context: Any
    ) -> bulk_pb2.ListMissingResponse:
        """Return the indices of the shards that have not arrived; a stream that is open ends.

        Who asks has lost its stream; here it may seem open until a ping goes unanswered. Where an
        upload of them would be refused, so is this: no shard is sent in vain.
        """
        round_, worker = round_id(request.round_id), self._worker(context)
        self._spool.end_stream(round_, worker)
        if missing := self._spool.missing(round_, worker):
            self.calls.check_upload(worker)
            self._spool.check_room(round_, worker)
        return bulk_pb2.ListMissingResponse(missing=missing)

    def download(self, request: bulk_pb2.DownloadRequest, context: Any) -> Iterator[bytes]:
        """Send a file by its digest."""
        identity = self._members.admit(identity_of(context), Role.WORKER, Role.EVALUATOR)
        digest = Digest(request.digest.hex())
        if not self._store.has(digest):
            raise UnknownFileError(f"no file {digest[:16]}... is kept here")
        total = self._store.size(digest)
        compressed = self._compressed.open(digest, total) if request.compressed else None
        with self.calls.by(identity.name, context, upload=False) as call:
            offset = request.offset
            while offset < total:
                num_bytes = part_bytes(offset, total)
                frame = compressed.frame(offset) if compressed is not None else None
                part = self._part(digest, offset, num_bytes) if frame is None else frame
                message = framing.download_response(total, part, compressed=frame is not None)
                yield message
                offset += num_bytes
                call.moved()
                self._outbox.sent(identity.name, len(message))

    def _part(self, digest: Digest, offset: int, length: int) -> bytes:
        try:
            return self._store.read_slice(digest, offset, length)
        except DamagedDataError:
            if self._store.has(digest):
                raise
            raise UnknownFileError(f"file {digest[:16]}... is not kept any more") from None

    def _worker(self, context: Any) -> WorkerId:
        return WorkerId(self._members.admit(identity_of(context), Role.WORKER).name)

    def handler(self) -> Any:
        """Return the methods as gRPC wants them. Shards and parts are not parsed by protobuf."""
        methods: dict[str, Any] = {
            "PushShards": grpc.stream_unary_rpc_method_handler(
                self.push_shards,
                response_serializer=bulk_pb2.PushShardsResponse.SerializeToString,
            ),
            "ListMissing": grpc.unary_unary_rpc_method_handler(
                self.list_missing,
                request_deserializer=bulk_pb2.ListMissingRequest.FromString,
                response_serializer=bulk_pb2.ListMissingResponse.SerializeToString,
            ),
            "Download": grpc.unary_stream_rpc_method_handler(
                self.download, request_deserializer=bulk_pb2.DownloadRequest.FromString
            ),
        }
        return grpc.method_handlers_generic_handler("crosscloud.v1.Bulk", methods)


def serve(settings: CoordinatorSettings, genesis: Genesis, line: Line) -> None:
    """Serve until control ends."""
    limits, files = settings.limits, CoordinatorFiles(settings.data_dir)
    spool = Spool(
        files.spool,
        max_bytes=limits.max_spool_bytes,
        spare_bytes=limits.spare_disk_bytes,
    )
    members = MemberList(settings.members, genesis.run)
    outbox = Outbox(line)
    store = DataStore(files.data)
    streams = StreamLimits(limits.num_streams, limits.max_streams_per_member, limits.stall_s)
    service = BulkService(spool, store, members, outbox, streams)
    num_threads = streams.streams + _SPARE_THREADS
    server = grpc.server(
        ThreadPoolExecutor(num_threads, thread_name_prefix="bulk"),
        interceptors=[StatusInterceptor()],
        maximum_concurrent_rpcs=_CALLS_PER_THREAD * num_threads,
        options=(
            ("grpc.max_receive_message_length", limits.max_message_bytes),
            ("grpc.max_concurrent_streams", _STREAMS_PER_CONNECTION),
            *server_options(settings.timings.keepalive_s),
            *bounded(
                connections("bulk", limits.max_connections, RESERVE + _FILES * streams.streams)
            ),
            *_FIXED_WINDOW,
        ),
    )
    server.add_generic_rpc_handlers((service.handler(),))
    if settings.reflection:
        reflect(server, bulk_pb2)
    credentials = server_credentials(settings.tls, genesis.run)
    port = listen(server, "bulk_port", settings.host, settings.bulk_port, credentials)
    server.start()
    settle()
    outbox.send(Serving(port))
    Thread(target=outbox.report, daemon=True, name="report").start()
    Thread(target=service.calls.follow, args=(members,), daemon=True, name="members").start()
    try:
        while True:
            match line.receive():
                case OpenSpool(round_, members_, bits, fragment):
                    layout = round_layout(genesis, bits, fragment)
                    patiently(spool.open_round, round_, members_, layout)
                    outbox.send(SpoolOpened(round_))
                case Seal(round_):
                    outbox.send(Sealed(round_, patiently(spool.seal, round_)))
                case DropSpool(round_):
                    patiently(spool.drop, round_)
                case Drain():
                    Thread(target=_drain, args=(service.calls, outbox), daemon=True).start()
    except EOFError:
        log.info("control ended: closing the bulk port")
    finally:
        server.stop(grace=None)


def _drain(calls: Calls, outbox: Outbox) -> None:
    calls.drain()
    with contextlib.suppress(EOFError):
        outbox.send(Drained())


def main() -> int:
    """Run as a child of control: `python -m services.coordinator.bulk --fd N CONFIG`."""
    with contextlib.suppress(EOFError, ToldToEndError):
        serve(*begin_child("bulk", RECEIVES))
    return Exit.OVER


if __name__ == "__main__":
    sys.exit(main())
