"""Bytes on the wire of one worker, counted as the processes count them (`services/wire.py`).

Nobody is lost, and no transfer breaks.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from common.documents import Genesis
from common.shards import PayloadLayout
from protos.v1 import bulk_pb2
from services import framing
from services.coordinator.bulk import PIECE_BYTES
from services.plan.conversation import Conversation
from services.plan.room import version_files
from services.wire import Direction, Tally

Traffic = Mapping[Direction, Mapping[str, int]]
"""By direction as the worker sees it, and kind."""


def round_traffic(
    genesis: Genesis, layout: PayloadLayout, num_members: int, talk: Conversation
) -> Traffic:
    """Return the bytes of one member of a committed round, its heartbeats not counted."""
    tally = Tally()
    for direction, size in talk.round:
        tally.message(direction, "control", size)
    last = layout.num_shards - 1
    for length, num in Counter(layout.shard(i)[1] for i in range(layout.num_shards)).items():
        message = len(framing.shard(bytes(16), last, bytes(length)))
        _messages(tally, "sent", "update", message, num)
    answer = bulk_pb2.PushShardsResponse()
    tally.message("received", "update", answer.ByteSize())
    _download(tally, "aggregate", layout.aggregate_bytes(num_members))
    return _of(tally)


def download_traffic(kind: str, files: Iterable[int]) -> Traffic:
    """Return the bytes of downloading files of these sizes."""
    tally = Tally()
    for size in files:
        _download(tally, kind, size)
    return _of(tally)


def _download(tally: Tally, kind: str, size: int) -> None:
    request = bulk_pb2.DownloadRequest(digest=bytes(32))
    tally.message("sent", kind, request.ByteSize())
    num_whole, rest = divmod(size, PIECE_BYTES)
    for length, num in ((PIECE_BYTES, num_whole), (rest, 1 if rest else 0)):
        if num:
            message = len(framing.download_response(size, bytes(length)))
            _messages(tally, "received", kind, message, num)


def _messages(tally: Tally, direction: Direction, kind: str, size: int, num: int) -> None:
    for _ in range(num):
        tally.message(direction, kind, size)


def _of(tally: Tally) -> Traffic:
    return {"sent": tally.wire("sent"), "received": tally.wire("received")}


def version_traffic(genesis: Genesis) -> Traffic:
    """Return the bytes of downloading a whole version, as a newcomer does."""
    return download_traffic("version", version_files(genesis))


def heartbeat_traffic(talk: Conversation, interval_s: float) -> Traffic:
    """Return bytes per hour of heartbeats and their answers."""
    tally = Tally()
    for direction, size in talk.heartbeat:
        tally.message(direction, "control", size)
    per_beat = _of(tally)
    return {
        d: {kind: round(n * 3600 / interval_s) for kind, n in per_beat[d].items()} for d in per_beat
    }
