"""One byte string for one document: the form in which we hash, compare and store.

A document is a frozen dataclass of strings, integers, finite floats, booleans, enums of strings,
tuples, string-keyed mappings and other documents. Its canonical form is JSON with sorted keys, no
white space, ASCII only, fields that are None left out. Floats are written as Python's shortest
round-trip form, so a float32 that was widened comes back bit for bit, but for -0.0: as it equals
0.0, it is written so. `decode` refuses anything that `encode` would not have written, so equal
documents always have equal bytes and a digest names exactly one document.

It refuses to guess: unknown fields, missing fields, wrong types, numbers out of range for 64 bits,
NaN, infinity, deep nesting and a round's id that is none are errors that name the place.
"""

import dataclasses
import enum
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from common.errors import MalformedDocumentError
from common.ids import Digest, RoundId, is_round_id

T = TypeVar("T")

MAX_DOCUMENT_BYTES = 16 * 2**20
MAX_DEPTH = 64
"""Of lists and mappings inside a free-form setting: the same limit in every process."""

_MAX_INTEGER = 2**64 - 1

_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)

Json = Any
"""Free-form settings inside a document: any JSON value, checked only for finite numbers."""


def encode(document: object) -> bytes:
    """Return the canonical bytes of `document`, a dataclass instance."""
    return _ENCODER.encode(_plain(document)).encode("ascii")


def digest(document: object) -> Digest:
    """Return the SHA-256 of the canonical bytes."""
    return digest_of(encode(document))


def digest_of(content: bytes | bytearray | memoryview) -> Digest:
    """Return the SHA-256 of raw bytes as 64 hexadecimal digits."""
    return Digest(hashlib.sha256(content).hexdigest())


def decode(content: bytes, kind: type[T]) -> T:
    """Return the document whose canonical bytes are `content`.

    Raises:
        MalformedDocumentError: not JSON, not canonical, or not a `kind`; names the field.
    """
    if len(content) > MAX_DOCUMENT_BYTES:
        raise MalformedDocumentError(
            f"{kind.__name__}: {len(content)} bytes, at most {MAX_DOCUMENT_BYTES} are read"
        )
    try:
        raw = json.loads(content.decode("ascii"))
        if b"\\ud" in content.lower():  # half a character: no log, store or status could hold it
            json.dumps(raw, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as e:
        raise MalformedDocumentError(f"{kind.__name__}: not ASCII JSON: {e}") from None
    document = _typed(raw, kind, kind.__name__)
    if encode(document) != content:
        raise MalformedDocumentError(f"{kind.__name__}: not in canonical form")
    return typing.cast("T", document)


_SCALARS = frozenset({str, int, bool, type(None)})
"""What is written as it is."""


def _plain(value: object) -> Json:
    if type(value) in _SCALARS:
        return value
    if type(value) is float:
        return value + 0.0  # of -0.0, 0.0
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain = {}
        for name, is_float in _fields(type(value)):
            v = getattr(value, name)
            if is_float and v is not None:
                plain[name] = float(v) + 0.0
            elif type(v) not in _SCALARS:
                plain[name] = _plain(v)
            elif v is not None:
                plain[name] = v
        return plain
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [v if type(v) in _SCALARS else _plain(v) for v in value]
    return typing.cast("Json", value)  # json says what is wrong with it


@functools.cache
def _fields(kind: type) -> tuple[tuple[str, bool], ...]:
    """Return (name, whether it is a float) of a document's fields."""
    hints = _hints(kind)
    return tuple((f.name, hints[f.name] is float) for f in dataclasses.fields(kind))


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


class _Form(enum.Enum):
    """How a value of some type is written."""

    ANY = enum.auto()
    DOCUMENT = enum.auto()
    LIST = enum.auto()
    OBJECT = enum.auto()
    ENUM = enum.auto()
    FLOAT = enum.auto()
    ROUND = enum.auto()
    PLAIN = enum.auto()


@functools.cache
def _form(kind: Any) -> tuple[_Form, Any]:
    """Return the form of a type; the type itself, or of its items."""
    if kind is Any:
        return _Form.ANY, kind
    if kind is RoundId:
        return _Form.ROUND, str
    while hasattr(kind, "__supertype__"):  # NewType
        kind = kind.__supertype__
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        (kind,) = (a for a in typing.get_args(kind) if a is not type(None))
        return _form(kind)
    if dataclasses.is_dataclass(kind):
        return _Form.DOCUMENT, kind
    if origin is tuple:
        return _Form.LIST, typing.get_args(kind)[0]
    if origin in (dict, Mapping):
        return _Form.OBJECT, typing.get_args(kind)[1]
    if isinstance(kind, enum.EnumType):
        return _Form.ENUM, kind
    return (_Form.FLOAT if kind is float else _Form.PLAIN), kind


def _typed(raw: Json, declared: Any, where: str) -> object:
    form, kind = _form(declared)
    match form:
        case _Form.ANY:
            return _finite(raw, where, MAX_DEPTH)
        case _Form.DOCUMENT:
            return _document(raw, kind, where)
        case _Form.LIST:
            values = _expect(raw, list, where)
            return tuple([_typed(v, kind, f"{where}[{i}]") for i, v in enumerate(values)])
        case _Form.OBJECT:
            values = _expect(raw, dict, where)
            return {k: _typed(v, kind, f"{where}.{k}") for k, v in values.items()}
        case _Form.ENUM:
            return _member(_expect(raw, str, where), kind, where)
        case _Form.FLOAT:
            if isinstance(raw, float) and math.isfinite(raw):
                return raw
            raise MalformedDocumentError(
                f"{where}: expected a finite float, got {type(raw).__name__}{_shown(raw)}"
            )
    value = _expect(raw, kind, where)
    if form is _Form.ROUND and not is_round_id(value):  # it names a folder, and travels as bytes
        raise MalformedDocumentError(
            f"{where}: expected 32 lower-case hexadecimal digits, got {value[:40]!r}"
        )
    if kind is int and abs(value) > _MAX_INTEGER:
        raise MalformedDocumentError(f"{where}: {str(value)[:40]} does not fit in 64 bits")
    return value


def _member(raw: str, kind: Any, where: str) -> object:
    try:
        return kind(raw)
    except ValueError:
        words = ", ".join(member.value for member in kind)
        raise MalformedDocumentError(f"{where}: {raw[:40]!r} is none of {words}") from None


def _document(raw: Json, kind: type, where: str) -> object:
    values = _expect(raw, dict, where)
    hints = _hints(kind)
    if unknown := sorted(values.keys() - hints.keys()):
        raise MalformedDocumentError(f"{where}: unknown field {unknown[0][:40]!r}")
    found = {k: _typed(v, hints[k], f"{where}.{k}") for k, v in values.items()}
    try:
        return kind(**found)
    except TypeError:
        required = {
            f.name
            for f in dataclasses.fields(kind)
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        }
        missing = sorted(required - found.keys())
        raise MalformedDocumentError(f"{where}: missing field {missing[0]!r}") from None
    except ValueError as e:
        raise MalformedDocumentError(f"{where}: {e}") from None


def _expect(raw: Json, kind: Any, where: str) -> Any:
    if type(raw) is not kind:  # bool is not an int here
        raise MalformedDocumentError(
            f"{where}: expected {kind.__name__}, got {type(raw).__name__}{_shown(raw)}"
        )
    return raw


def _shown(raw: Json) -> str:
    """Return a plain value for a message; what holds others may be huge, or too deep to print."""
    return "" if isinstance(raw, list | dict) else f" {str(raw)[:40]!r}"


def _finite(raw: Json, where: str, depth: int) -> Json:
    if depth < 0:
        raise MalformedDocumentError(f"{where[:40]}...: nested more than {MAX_DEPTH} deep")
    match raw:
        case float() if not math.isfinite(raw):
            raise MalformedDocumentError(f"{where}: expected a finite number, got {raw}")
        case dict():
            return {k: _finite(v, f"{where}.{k}", depth - 1) for k, v in raw.items()}
        case list():
            return [_finite(v, f"{where}[{i}]", depth - 1) for i, v in enumerate(raw)]
    return raw
