"""Bytes on the wire of one worker, counted as the processes count them (`traffic.py`).

Nobody is lost, and no transfer breaks.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from commands.plan.conversation import Conversation
from commands.plan.room import version_files
from common.documents import Genesis
from common.shards import PayloadLayout
from protos.v1 import bulk_pb2
from services.wire import framing
from services.wire.compression import PART_BYTES
from services.wire.traffic import Direction, TrafficCounts

Traffic = Mapping[Direction, Mapping[str, int]]
"""By direction as the worker sees it, and kind."""


def round_traffic(
    layout: PayloadLayout, num_members: int, talk: Conversation, compressed: float = 1.0
) -> Traffic:
    """Return the bytes of one member of a committed round, its heartbeats not counted.

    Args:
        compressed: share of an aggregate's bytes that is left when it is compressed.
    """
    tally = TrafficCounts()
    for direction, size in talk.round:
        tally.message(direction, "control", size)
    last = layout.num_shards - 1  # its number takes as many bytes as most do
    for section in (layout.data_bytes, layout.side_bytes, layout.tags_bytes):
        for length, num in _parts(section, layout.shard_bytes):
            message = len(framing.shard(bytes(16), last, bytes(length)))
            tally.message("sent", "update", message, num)
    answer = bulk_pb2.PushShardsResponse()
    tally.message("received", "update", answer.ByteSize())
    _download(tally, "aggregate", round(compressed * layout.aggregate_bytes(num_members)))
    return _of(tally)


def download_traffic(kind: str, files: Iterable[int]) -> Traffic:
    """Return the bytes of downloading files of these sizes."""
    tally = TrafficCounts()
    for size, num in Counter(files).items():
        _download(tally, kind, size, num)
    return _of(tally)


def _download(tally: TrafficCounts, kind: str, size: int, num_files: int = 1) -> None:
    request = bulk_pb2.DownloadRequest(digest=bytes(32), compressed=True)
    tally.message("sent", kind, request.ByteSize(), num_files)
    for length, num in _parts(size, PART_BYTES):
        message = len(framing.download_response(size, bytes(length)))
        tally.message("received", kind, message, num * num_files)


def _parts(size: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield the lengths of what a body is cut into, and how many there are of each."""
    num_whole, rest = divmod(size, most)
    if num_whole:
        yield most, num_whole
    if rest:
        yield rest, 1


def _of(tally: TrafficCounts) -> Traffic:
    return {"sent": tally.wire("sent"), "received": tally.wire("received")}


def version_traffic(genesis: Genesis) -> Traffic:
    """Return the bytes of downloading a whole version, as a newcomer does."""
    return download_traffic("version", version_files(genesis))


def heartbeat_traffic(talk: Conversation, interval_s: float) -> Traffic:
    """Return bytes per hour of heartbeats and their answers."""
    tally = TrafficCounts()
    for direction, size in talk.heartbeat:
        tally.message(direction, "control", size)
    per_beat = _of(tally)
    return {
        d: {kind: round(n * 3600 / interval_s) for kind, n in per_beat[d].items()} for d in per_beat
    }
