"""Splitting and building bulk messages without parsing them whole.

Parsing a protobuf with a 1 MiB bytes field copies it. In `Shard` and `DownloadResponse` the payload
is the last field, so the few bytes before it are read by hand and the payload is a view. Anything
that does not look exactly as our own senders write it goes through protobuf instead: same result,
slower.
"""

import contextlib
from typing import Final

from google.protobuf.message import DecodeError

from common.errors import MalformedDocumentError, UnexpectedMessageError
from common.ids import RoundId
from protos.v1 import bulk_pb2

_ROUND_ID_TAG: Final = 0x0A  # field 1, bytes
_VARINT_1_TAG: Final = 0x08  # field 1, varint
_INDEX_TAG: Final = 0x10  # field 2, varint
_COMPRESSED_TAG: Final = 0x72  # field 14, bytes
_PAYLOAD_TAG: Final = 0x7A  # field 15, bytes


def shard(round_id: bytes, index: int, payload: bytes | memoryview) -> bytes:
    """Return the wire form of a `Shard`; `round_id` is 16 bytes."""
    head = bytes((_ROUND_ID_TAG, 16)) + round_id
    if index:
        head += bytes((_INDEX_TAG,)) + _varint(index)
    return b"".join((head, bytes((_PAYLOAD_TAG,)), _varint(len(payload)), payload))


def split_shard(message: bytes) -> tuple[bytes, int, memoryview]:
    """Return (round_id, index, payload) of a `Shard`.

    Raises:
        MalformedDocumentError: not a `Shard`.
    """
    view = memoryview(message)
    with contextlib.suppress(IndexError):
        if view[0] == _ROUND_ID_TAG and view[1] == 16:
            at, index = 18, 0
            if view[at] == _INDEX_TAG:
                index, at = _read_varint(view, at + 1)
            if (payload := _payload(view, at)) is not None:
                return bytes(view[2:18]), index, payload
    try:
        parsed = bulk_pb2.Shard.FromString(message)
    except DecodeError:
        raise MalformedDocumentError("Shard: not a protobuf message") from None
    return parsed.round_id, parsed.index, memoryview(parsed.payload)


def download_response(
    total_bytes: int, payload: bytes | memoryview, *, compressed: bool = False
) -> bytes:
    """Return the wire form of a `DownloadResponse`; compressed, `payload` is one frame."""
    head = bytes((_VARINT_1_TAG,)) + _varint(total_bytes) if total_bytes else b""
    tag = _COMPRESSED_TAG if compressed else _PAYLOAD_TAG
    return b"".join((head, bytes((tag,)), _varint(len(payload)), payload))


def split_download_response(message: bytes) -> tuple[int, memoryview, bool]:
    """Return (total_bytes, payload, whether that is compressed) of a `DownloadResponse`.

    Raises:
        MalformedDocumentError: not a `DownloadResponse`.
    """
    view = memoryview(message)
    with contextlib.suppress(IndexError):
        if view[0] == _VARINT_1_TAG:
            total, at = _read_varint(view, 1)
            compressed = view[at] == _COMPRESSED_TAG
            tag = _COMPRESSED_TAG if compressed else _PAYLOAD_TAG
            if (payload := _payload(view, at, tag)) is not None:
                return total, payload, compressed
    try:
        parsed = bulk_pb2.DownloadResponse.FromString(message)
    except DecodeError:
        raise MalformedDocumentError("DownloadResponse: not a protobuf message") from None
    payload = memoryview(parsed.compressed or parsed.payload)
    return parsed.total_bytes, payload, bool(parsed.compressed)


def _payload(view: memoryview, at: int, tag: int = _PAYLOAD_TAG) -> memoryview | None:
    """Return the payload where its field, the last one, begins at `at`; None if it does not."""
    if view[at] == tag:
        length, at = _read_varint(view, at + 1)
        if at + length == len(view):
            return view[at:]
    return None


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError("varint too long")


def round_id(content: bytes) -> RoundId:
    """Return the id of a round from its 16 bytes.

    Raises:
        UnexpectedMessageError: another length.
    """
    if len(content) != 16:
        raise UnexpectedMessageError(f"round_id: expected 16 bytes, got {len(content)}")
    return RoundId(content.hex())
