"""How a seat is stored and taken up again, and what tells its states apart."""

import functools
import hashlib
import io
import pickle
from collections import deque
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Final

from typing_extensions import override

from common import canonical
from common.documents import Answer, Attestation, Genesis, Offer, Plan, Record, Version
from common.ids import Digest
from simulator.drawn import Drawn
from simulator.explorer.seat import Seat

_DOCUMENTS: Final = frozenset((Genesis, Plan, Offer, Answer, Record, Attestation, Version))
"""Kept once, by their digests: they never change, and no two kinds have one form."""
_interned: dict[Digest, object] = {}
_digests: dict[int, tuple[Digest, object]] = {}  # with the document, whose id it keeps


def interned(document: Any) -> Digest:
    """Return a document's digest, and keep the document."""
    if (found := _digests.get(id(document))) is not None:
        return found[0]
    digest = canonical.digest(document)
    _interned.setdefault(digest, document)
    _digests[id(document)] = digest, document
    return digest


class _Storing(pickle.Pickler):
    @override
    def persistent_id(self, obj: object) -> Digest | None:
        return interned(obj) if type(obj) in _DOCUMENTS else None


class _Taking(pickle.Unpickler):
    @override
    def persistent_load(self, pid: Digest) -> object:
        return _interned[pid]


def stored(seat: Seat) -> bytes:
    """Return a seat as bytes; documents are kept here."""
    out = io.BytesIO()
    _Storing(out, pickle.HIGHEST_PROTOCOL).dump(seat)
    return out.getvalue()


def taken_up(content: bytes) -> Seat:
    """Return a stored seat, for itself."""
    seat: Seat = _Taking(io.BytesIO(content)).load()
    return seat


def state_of(seat: Seat) -> Digest:
    """Return what tells a seat's state from others: equal ones go on in equal ways."""
    return canonical.digest_of(repr(shape_of(seat)).encode())


def public_of(seat: Seat) -> str:
    """Return what tells what it has let out from what others have."""
    return hashlib.sha256("|".join(sorted(seat.facts)).encode()).hexdigest()


_names: dict[type, tuple[str, ...]] = {}


def shape_of(value: Any) -> Any:
    """Return plain tuples that are equal where values are."""
    match value:
        case None | bool() | int() | float() | str() | bytes():
            return value
        case Enum():
            return str(value)
        case Mapping():  # in its order: the newest may be the last
            return tuple((shape_of(k), shape_of(v)) for k, v in value.items())
        case set() | frozenset():
            return tuple(sorted(map(shape_of, value), key=repr))
        case list() | tuple() | deque():
            return tuple(map(shape_of, value))
        case Drawn():
            return value.seed, value.num
        case functools.partial():
            return shape_of(value.args)
    kind = type(value)
    if kind in _DOCUMENTS:
        return interned(value)
    if kind not in _names:
        _names[kind] = tuple(f.name for f in fields(kind)) if is_dataclass(kind) else ()
    if names := _names[kind]:
        return kind.__name__, tuple([shape_of(getattr(value, name)) for name in names])
    if hasattr(value, "__dict__") and not callable(value):
        return type(value).__name__, shape_of(vars(value))
    return getattr(value, "__name__", type(value).__name__)
