"""The dialling side of the bulk port: uploads resume where they broke, downloads are checked.

Blocking gRPC, for threads. Channel errors are retried with growing, jittered pauses until `give_up`
says that nobody wants the bytes any more; what the coordinator refuses is raised at once. Where it
is too busy it says when to come back: that is obeyed, and counts as no failure.

Each call has a deadline, after which the next one goes on where it stood.
"""

import logging
import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any, Final, TypeVar

import grpc

from common.errors import DamagedDataError, NotFoundError, ProtocolError, UnknownFileError
from common.ids import Digest, RoundId
from protos.v1 import bulk_pb2
from services.disk.data_store import DataStore
from services.wire import framing
from services.wire.backoff import RetryBackoff
from services.wire.compression import decompress, part_bytes
from services.wire.credentials import explain_failed_call
from services.wire.status import error_of, retry_after_s
from services.wire.traffic import TrafficCounts

log = logging.getLogger(__name__)

_PUSH: Final = "/crosscloud.v1.Bulk/PushShards"
_LIST_MISSING: Final = "/crosscloud.v1.Bulk/ListMissing"
_DOWNLOAD: Final = "/crosscloud.v1.Bulk/Download"
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.1
_CALL_DEADLINE_S: Final = 30.0
_STREAM_DEADLINE_S: Final = 3600.0

T = TypeVar("T")


class GivenUpError(ProtocolError):
    """Nobody wants this transfer any more: the round is over, or the process ends."""


class _BadCompressionError(DamagedDataError):
    """Compressed parts did not give the file: a damaged copy, which the file itself replaces."""


class BulkLink:
    """One channel to the bulk port.

    Args:
        channel: mTLS channel, `services/wire/credentials.py`.
        closing: set when the process ends.
        tally: where bytes are counted; an upload's as "update".
        target: HOST:PORT, for messages.

    Attributes:
        link_bps: speed of the newest upload stream in bits per second; 0 = none yet.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        closing: Event,
        tally: TrafficCounts | None = None,
    ) -> None:
        self.tally = tally or TrafficCounts()
        self._channel = channel
        self._closing = closing
        self._push = channel.stream_unary(_PUSH, None, bulk_pb2.PushShardsResponse.FromString)
        self._list_missing = channel.unary_unary(
            _LIST_MISSING,
            request_serializer=bulk_pb2.ListMissingRequest.SerializeToString,
            response_deserializer=bulk_pb2.ListMissingResponse.FromString,
        )
        self._download = channel.unary_stream(
            _DOWNLOAD, bulk_pb2.DownloadRequest.SerializeToString, None
        )
        self._payload_bytes = 0
        self.link_bps = 0
        self._downloads: set[Any] = set()

    def close(self) -> None:
        """End every transfer, also one that began on a channel of before a renewal."""
        for call in tuple(self._downloads):
            call.cancel()
        self._channel.close()

    def push(
        self,
        round_id: RoundId,
        num_shards: int,
        read_shard: Callable[[int], bytes],
        *,
        give_up: Event,
    ) -> None:
        """Upload a payload; returns once the coordinator has every shard.

        Args:
            num_shards: of the payload.
            read_shard: returns the payload of one shard; the same bytes each time it is asked.
            give_up: set when the round is over.

        Raises:
            GivenUpError: `give_up` or `closing` was set first.
            NotFoundError: the round is over.
            ProtocolError: the coordinator refuses the shards.
        """
        wanted = list(range(num_shards))
        question = bulk_pb2.ListMissingRequest(round_id=bytes.fromhex(round_id))
        first = True

        def attempt() -> list[int]:
            nonlocal wanted, first
            if not first:  # a broken stream: ask what arrived of it
                answer = self._list_missing(question, timeout=_CALL_DEADLINE_S)
                self.tally.message("sent", "update", question.ByteSize())
                self.tally.message("received", "update", answer.ByteSize())
                wanted = list(answer.missing)
            first = False
            if not wanted:
                return []
            began_s, sent_before = time.monotonic(), self._payload_bytes
            shards = self._messages(round_id, wanted, read_shard, give_up)
            said = self._called(self._push, shards, give_up)
            self.tally.message("received", "update", said.ByteSize())
            took_s = max(time.monotonic() - began_s, 1e-3)
            self.link_bps = round(8 * (self._payload_bytes - sent_before) / took_s)
            return list(said.missing)

        while wanted:
            wanted = self._retried(attempt, give_up)

    def _called(self, method: Any, shards: Iterator[bytes], give_up: Event) -> Any:
        """Call `method`, but cancel it as soon as nobody wants it: a dead path may never answer."""
        done = Event()
        call = method.future(shards, timeout=_STREAM_DEADLINE_S)
        call.add_done_callback(lambda _: done.set())
        while not done.wait(_LOOK_EVERY_S):
            if give_up.is_set() or self._closing.is_set():
                call.cancel()
                raise GivenUpError("the upload is not wanted any more")
        return call.result()

    def _messages(
        self,
        round_id: RoundId,
        wanted: list[int],
        read_shard: Callable[[int], bytes],
        give_up: Event,
    ) -> Iterator[bytes]:
        raw_id = bytes.fromhex(round_id)
        for index in wanted:
            if give_up.is_set() or self._closing.is_set():
                return
            message = framing.shard(raw_id, index, read_shard(index))
            self._payload_bytes += len(message)
            self.tally.message("sent", "update", len(message))
            yield message

    def fetch(self, digest: Digest, kind: str, store: DataStore, most_bytes: int) -> None:
        """Download one file into `store`.

        Args:
            digest: of its content.
            kind: what the bytes are counted as.
            store: where it goes.
            most_bytes: no more is taken: its size, or what it may have at most.

        Raises:
            UnknownFileError: the coordinator does not keep it.
            DamagedDataError: what came has another digest, or is longer than it may be.
            GivenUpError: the process ends.
        """
        try:
            self._fetch(digest, kind, store, most_bytes, compressed=True)
        except _BadCompressionError as e:
            log.warning("file %s... is fetched again, not compressed: %s", digest[:16], e)
            self._fetch(digest, kind, store, most_bytes, compressed=False)

    def _fetch(
        self, digest: Digest, kind: str, store: DataStore, most_bytes: int, *, compressed: bool
    ) -> None:
        came_compressed = False
        with store.writer() as writer:

            def attempt() -> None:
                nonlocal came_compressed
                request = bulk_pb2.DownloadRequest(
                    digest=bytes.fromhex(digest), offset=writer.length, compressed=compressed
                )
                self.tally.message("sent", kind, request.ByteSize())
                for message in self._downloaded(request):
                    self.tally.message("received", kind, len(message))
                    total, payload, is_compressed = framing.split_download_response(message)
                    length = writer.length + (0 if is_compressed else len(payload))
                    if max(total, length) > most_bytes:
                        raise DamagedDataError(
                            f"file {digest[:16]}... would be longer than its {most_bytes} bytes"
                        )
                    if is_compressed:
                        came_compressed = True
                        payload = _decompressed(payload, part_bytes(writer.length, total))
                    writer.append(payload)

            try:
                self._retried(attempt, self._closing)
            except NotFoundError as e:
                raise UnknownFileError(str(e)) from None
            if (found := writer.commit()) != digest:
                kind_of_error = _BadCompressionError if came_compressed else DamagedDataError
                raise kind_of_error(f"asked for file {digest[:16]}..., got {found[:16]}...")

    def _downloaded(self, request: bulk_pb2.DownloadRequest) -> Iterator[bytes]:
        """Yield messages as long as somebody wants them; then the call is over on both sides."""
        call: Any = self._download(request, timeout=_STREAM_DEADLINE_S)
        self._downloads.add(call)
        try:
            for message in call:
                yield message
                if self._closing.is_set():
                    raise GivenUpError("the download is not wanted any more")
        finally:
            self._downloads.discard(call)
            call.cancel()

    def _retried(self, attempt: Callable[[], T], give_up: Event) -> T:
        backoff = RetryBackoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        said_busy = said_broken = False
        while True:
            if give_up.is_set() or self._closing.is_set():
                raise GivenUpError("the transfer is not wanted any more")
            try:
                return attempt()
            except grpc.RpcError as e:
                if (error := error_of(e)) is not None:
                    raise error from None
                busy_s = retry_after_s(e)
                if busy_s is not None and not said_busy:
                    call: Any = e
                    log.info("the coordinator is busy: %s", call.details())
                elif busy_s is None and not said_broken:
                    why = explain_failed_call(e, self._channel)
                    log.warning("a transfer broke, and is tried again: %s", why)
                said_busy |= busy_s is not None
                said_broken |= busy_s is None
            self._pause(backoff.wait_s(busy_s), give_up)

    def _pause(self, seconds: float, give_up: Event) -> None:
        """Wait, but no longer than somebody wants the transfer."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0 and not self._closing.is_set():
            if give_up.wait(min(left_s, _LOOK_EVERY_S)):
                return


def _decompressed(frame: memoryview, num_bytes: int) -> memoryview:
    try:
        return memoryview(decompress(frame, num_bytes))
    except DamagedDataError as e:
        raise _BadCompressionError(str(e)) from None
