import logging
import socket
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from threading import Event, Timer
from typing import Any

import grpc
import pytest
from typing_extensions import override

from common.canonical import digest_of
from common.errors import (
    BadUpdateError,
    BusyError,
    DamagedDataError,
    NotFoundError,
    UnknownFileError,
    UnknownRoundError,
)
from common.ids import RoundId
from protos.v1 import bulk_pb2
from services.disk.data_store import DataStore
from services.trust.identity import Role
from services.wire import framing
from services.wire.bulk_link import BulkLink, GivenUpError
from services.wire.compression import PART_BYTES, Compressor
from services.wire.credentials import renewed_credentials
from services.wire.renewed_channel import RenewedChannel
from services.wire.status import StatusInterceptor
from tests.rig.certificates import RUN, authority, tls_files

ROUND = RoundId("ab" * 16)
NUM_SHARDS = 5
MOST = 2**24


class Other:
    """The coordinator's side, in the clear on loopback: takes shards, and trouble on demand."""

    def __init__(self) -> None:
        self.arrived: dict[int, bytes] = {}
        self.troubles: list[Exception] = []
        self.break_after = 0  # messages; 0 = never
        self.content = b""
        self.parts: list[list[tuple[bool, bytes]]] = []
        self.asked: list[bulk_pb2.DownloadRequest] = []
        self.cuts = 0
        self.drips = False

    def push(self, messages: Iterator[bytes], context: Any) -> bulk_pb2.PushShardsResponse:
        if self.troubles:
            raise self.troubles.pop(0)
        for message in messages:
            _, index, payload = framing.split_shard(message)
            self.arrived[index] = bytes(payload)
            self.break_after -= 1
            if self.break_after == 0:
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        return bulk_pb2.PushShardsResponse(missing=self._missing())

    def list_missing(self, request: object, context: object) -> bulk_pb2.ListMissingResponse:
        return bulk_pb2.ListMissingResponse(missing=self._missing())

    def download(self, request: bulk_pb2.DownloadRequest, context: Any) -> Iterator[bytes]:
        if self.troubles:
            raise self.troubles.pop(0)
        self.asked.append(request)
        if self.parts:  # (compressed, bytes)
            for compressed, content in self.parts.pop(0):
                yield framing.download_response(len(self.content), content, compressed=compressed)
            if self.cuts:
                self.cuts -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
            return
        while self.drips and context.is_active():
            yield framing.download_response(10, b"x")
            time.sleep(0.01)
        yield framing.download_response(len(self.content), self.content[request.offset :][:3])
        if self.break_after:
            self.break_after = 0
            context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        rest = self.content[request.offset + 3 :]
        yield framing.download_response(len(self.content), rest)

    def _missing(self) -> list[int]:
        return [i for i in range(NUM_SHARDS) if i not in self.arrived]


@pytest.fixture
def other() -> Other:
    return Other()


@pytest.fixture
def closing() -> Event:
    return Event()


@pytest.fixture
def link(other: Other, closing: Event) -> Iterator[BulkLink]:
    server = grpc.server(futures.ThreadPoolExecutor(2), interceptors=[StatusInterceptor()])
    methods: dict[str, Any] = {
        "PushShards": grpc.stream_unary_rpc_method_handler(
            other.push, response_serializer=bulk_pb2.PushShardsResponse.SerializeToString
        ),
        "ListMissing": grpc.unary_unary_rpc_method_handler(
            other.list_missing,
            response_serializer=bulk_pb2.ListMissingResponse.SerializeToString,
        ),
        "Download": grpc.unary_stream_rpc_method_handler(
            other.download, request_deserializer=bulk_pb2.DownloadRequest.FromString
        ),
    }
    handler = grpc.method_handlers_generic_handler("crosscloud.v1.Bulk", methods)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    made = BulkLink(grpc.insecure_channel(f"127.0.0.1:{port}"), closing)
    yield made
    made.close()
    server.stop(None)


def shard(index: int) -> bytes:
    return bytes([index]) * 100


def push(link: BulkLink, read: Callable[[int], bytes] = shard) -> None:
    link.push(ROUND, NUM_SHARDS, read, give_up=Event())


def test_every_shard_arrives_once(link: BulkLink, other: Other) -> None:
    asked: list[int] = []
    push(link, lambda i: asked.append(i) or shard(i))  # type: ignore[func-returns-value]
    assert other.arrived == {i: shard(i) for i in range(NUM_SHARDS)}
    assert asked == list(range(NUM_SHARDS))
    assert link.tally.wire("sent")["update"] > NUM_SHARDS * 100
    assert link.link_bps > 0


def test_a_broken_upload_goes_on_with_what_is_missing(link: BulkLink, other: Other) -> None:
    other.break_after = 2
    push(link)
    assert other.arrived == {i: shard(i) for i in range(NUM_SHARDS)}


def test_a_busy_coordinator_is_asked_again_until_it_takes_the_shards(
    link: BulkLink, other: Other
) -> None:
    other.troubles = [BusyError("too many streams", 0.05) for _ in range(5)]
    push(link)
    assert len(other.arrived) == NUM_SHARDS


def test_a_busy_coordinator_keeps_nobody_who_wants_no_more(link: BulkLink, other: Other) -> None:
    other.troubles = [BusyError("too many streams", 60.0) for _ in range(9)]
    give_up = Event()
    Timer(0.2, give_up.set).start()
    with pytest.raises(GivenUpError):
        link.push(ROUND, NUM_SHARDS, shard, give_up=give_up)
    assert len(other.troubles) == 8


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [(BadUpdateError("no such shard"), BadUpdateError), (UnknownRoundError("over"), NotFoundError)],
)
def test_what_the_coordinator_refuses_is_raised_at_once(
    link: BulkLink, other: Other, trouble: Exception, kind: type[Exception]
) -> None:
    other.troubles = [trouble]
    with pytest.raises(kind, match=str(trouble)):
        push(link)


def test_an_upload_that_nobody_wants_ends(link: BulkLink, other: Other) -> None:
    give_up = Event()

    def read(index: int) -> bytes:
        give_up.set()
        return shard(index)

    with pytest.raises(GivenUpError):
        link.push(ROUND, NUM_SHARDS, read, give_up=give_up)
    assert len(other.arrived) < NUM_SHARDS


def test_a_broken_download_goes_on_where_it_broke(
    link: BulkLink, other: Other, tmp_path: Path
) -> None:
    other.content, other.break_after, store = b"0123456789", 1, DataStore(tmp_path)
    digest = digest_of(other.content)
    link.fetch(digest, "version", store, MOST)
    assert store.read(digest) == other.content
    assert link.tally.wire("received")["version"] > len(other.content)


def test_a_file_that_is_not_kept_says_so(link: BulkLink, other: Other, tmp_path: Path) -> None:
    other.troubles = [UnknownFileError("gone")]
    with pytest.raises(UnknownFileError, match="gone"):
        link.fetch(digest_of(b"x"), "aggregate", DataStore(tmp_path), MOST)


def test_content_of_another_digest_is_refused(link: BulkLink, other: Other, tmp_path: Path) -> None:
    other.content = b"0123456789"
    with pytest.raises(DamagedDataError, match="asked for file"):
        link.fetch(digest_of(b"something else"), "version", DataStore(tmp_path), MOST)


def test_a_compressed_download_is_decompressed_and_counted_as_it_came(
    link: BulkLink, other: Other, tmp_path: Path
) -> None:
    other.content, store = bytes(PART_BYTES) + b"the end", DataStore(tmp_path)
    frames = [Compressor().compress(other.content[i : i + PART_BYTES]) for i in (0, PART_BYTES)]
    other.parts = [[(True, frame) for frame in frames]]
    digest = digest_of(other.content)
    link.fetch(digest, "aggregate", store, len(other.content))
    assert store.read(digest) == other.content
    assert other.asked[0].compressed
    assert link.tally.wire("received")["aggregate"] < 700


def test_a_broken_compressed_download_goes_on_at_the_next_part_compressed_or_not(
    link: BulkLink, other: Other, tmp_path: Path
) -> None:
    other.content, store = bytes(PART_BYTES) + b"the end", DataStore(tmp_path)
    first = (True, Compressor().compress(other.content[:PART_BYTES]))
    other.parts = [[first, (False, b"the")], [(False, b" end")]]
    other.cuts = 1
    digest = digest_of(other.content)
    link.fetch(digest, "aggregate", store, len(other.content))
    assert store.read(digest) == other.content
    assert [asked.offset for asked in other.asked] == [0, PART_BYTES + 3]


@pytest.mark.parametrize(
    "bad",
    [
        b"no frame",
        Compressor().compress(b"the enc"),  # another content
        Compressor().compress(b"the end, and more"),
        Compressor().compress(bytes(2**24)),  # 16 MiB in 2 kB
    ],
)
def test_a_bad_frame_is_not_decompressed_and_the_file_comes_as_it_is(
    link: BulkLink, other: Other, tmp_path: Path, bad: bytes
) -> None:
    other.content, store = b"the end", DataStore(tmp_path)
    other.parts = [[(True, bad)], [(False, other.content)]]
    digest = digest_of(other.content)
    link.fetch(digest, "aggregate", store, MOST)
    assert store.read(digest) == other.content
    assert [asked.compressed for asked in other.asked] == [True, False]


@pytest.mark.parametrize("compressed", [False, True])
def test_more_than_a_file_may_have_is_not_taken(
    link: BulkLink, other: Other, tmp_path: Path, compressed: bool
) -> None:
    other.content = bytes(1000)
    content = Compressor().compress(other.content) if compressed else other.content
    other.parts = [[(compressed, content)]]
    with pytest.raises(DamagedDataError, match="longer than its 999 bytes"):
        link.fetch(digest_of(other.content), "aggregate", DataStore(tmp_path), 999)
    assert not [p for p in tmp_path.iterdir() if p.stat().st_size]


def test_a_download_that_never_ends_does_not_keep_a_process_that_does(
    link: BulkLink, other: Other, closing: Event, tmp_path: Path
) -> None:
    other.drips = True
    Timer(0.3, closing.set).start()
    with pytest.raises(GivenUpError):
        link.fetch(digest_of(b""), "version", DataStore(tmp_path), MOST)
    assert link.tally.wire("received")["version"] > 0


def test_a_transfer_that_breaks_says_that_our_own_certificate_has_expired(tmp_path: Path) -> None:
    ours, give_up, said = authority(), Event(), list[str]()

    class Heard(logging.Handler):
        @override
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())
            give_up.set()

    tls = tls_files(tmp_path, ours)
    credentials = renewed_credentials(tls, RUN, Role.WORKER, "aws")
    logger, heard = logging.getLogger("services.wire.bulk_link"), Heard()
    with socket.socket() as nobody:  # bound, and never listened on
        nobody.bind(("127.0.0.1", 0))
        channel = RenewedChannel(f"127.0.0.1:{nobody.getsockname()[1]}", credentials)
        link = BulkLink(channel, Event())
        tls_files(tmp_path, ours, days=(-2, -1))
        logger.addHandler(heard)
        try:
            with pytest.raises(GivenUpError):
                link.push(ROUND, NUM_SHARDS, shard, give_up=give_up)
        finally:
            logger.removeHandler(heard)
            link.close()
    assert any(f"{tls.certificate} expired on" in each for each in said), said
