import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import MalformedDocumentError
from protos.v1 import bulk_pb2
from services.wire import framing

IDS = st.binary(min_size=16, max_size=16)
INDICES = st.integers(0, 2**32 - 1)


@given(IDS, INDICES, st.binary(max_size=3000))
def test_a_shard_is_what_protobuf_would_write_and_splits_without_a_copy(
    round_id: bytes, index: int, payload: bytes
) -> None:
    ours = framing.shard(round_id, index, payload)
    theirs = bulk_pb2.Shard(round_id=round_id, index=index, payload=payload)
    assert bulk_pb2.Shard.FromString(ours) == theirs
    assert framing.split_shard(ours) == (round_id, index, payload)
    assert framing.split_shard(theirs.SerializeToString()) == (round_id, index, payload)
    _, _, view = framing.split_shard(ours)
    assert view.obj is ours


@given(st.integers(0, 2**63), st.binary(max_size=3000))
def test_a_part_of_a_download_is_what_protobuf_would_write(total: int, payload: bytes) -> None:
    ours = framing.download_response(total, payload)
    theirs = bulk_pb2.DownloadResponse(total_bytes=total, payload=payload)
    assert bulk_pb2.DownloadResponse.FromString(ours) == theirs
    assert framing.split_download_response(ours) == (total, payload, False)
    assert framing.split_download_response(theirs.SerializeToString()) == (total, payload, False)


@given(st.integers(0, 2**63), st.binary(min_size=1, max_size=3000))
def test_a_compressed_part_is_what_protobuf_would_write(total: int, frame: bytes) -> None:
    ours = framing.download_response(total, frame, compressed=True)
    theirs = bulk_pb2.DownloadResponse(total_bytes=total, compressed=frame)
    assert bulk_pb2.DownloadResponse.FromString(ours) == theirs
    assert framing.split_download_response(ours) == (total, frame, True)
    assert framing.split_download_response(theirs.SerializeToString()) == (total, frame, True)


def test_fields_in_another_order_are_read_by_protobuf() -> None:
    shard = bulk_pb2.Shard(round_id=bytes(16), index=3, payload=b"abc").SerializeToString()
    reordered = shard[18:] + shard[:18]
    assert framing.split_shard(reordered) == (bytes(16), 3, b"abc")


@given(st.binary(max_size=200))
def test_any_bytes_split_or_are_refused(content: bytes) -> None:
    for split in (framing.split_shard, framing.split_download_response):
        with contextlib.suppress(MalformedDocumentError):
            split(content)


def test_nonsense_is_refused_by_name() -> None:
    with pytest.raises(MalformedDocumentError, match="Shard"):
        framing.split_shard(b"\xff\xff\xff")
