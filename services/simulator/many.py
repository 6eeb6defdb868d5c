"""Many histories, and what is said of those that break a promise: seed, faults, transcript."""

import functools
import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from unittest import mock

from typing_extensions import override

from common import canonical
from common.secagg import signatures, transcript
from common.secagg.labels import SignedPurpose
from services.simulator.faults import Fault, faults_of
from services.simulator.federation import BrokenError, Federation

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a file system in memory, for speed
_MAX_LINES: Final = 60

T = TypeVar("T")

_MOST: Final = 2**13
_DECODE: Final = canonical.decode
_ENCODE: Final = canonical.encode
_VERIFY: Final = signatures.verify
_CERTIFIED_KEY: Final = transcript.certified_key
"""A document is immutable, and all workers of a history read the same ones: once will do."""


@functools.lru_cache(maxsize=_MOST)
def _decode(content: bytes, kind: type[T]) -> T:
    return _DECODE(content, kind)


@functools.lru_cache(maxsize=_MOST)
def _encoded(same: "_Same") -> bytes:
    return _ENCODE(same.thing)


def _encode(document: object) -> bytes:
    return _encoded(_Same(document))


@functools.lru_cache(maxsize=_MOST)
def _verified(key: "_Same", purpose: SignedPurpose, content: bytes, signature: bytes) -> None:
    _VERIFY(key.thing, purpose, content, signature)


def _verify(key: object, purpose: SignedPurpose, content: bytes, signature: bytes) -> None:
    _verified(_Same(key), purpose, content, signature)


class _Same:
    """A thing that equals itself alone, however deep it is."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.thing is self.thing

    @override
    def __hash__(self) -> int:
        return id(self.thing)


@contextmanager
def _once() -> Iterator[None]:
    """Do work that gives the same each time once."""
    key = functools.cache(_CERTIFIED_KEY)
    with (
        mock.patch.multiple(canonical, decode=_decode, encode=_encode),
        mock.patch.multiple(transcript, verify=_verify, certified_key=key),
    ):
        yield


def play(seed: int, faults: tuple[Fault, ...] | None = None) -> str:
    """Play the history of a seed; return "" or what it broke, in lines for a person.

    Args:
        faults: instead of those of the seed.
    """
    if faults is None:
        faults = faults_of(seed)
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        federation = Federation(seed, Path(folder), faults)
        try:
            with _once():
                federation.run()
        except BrokenError as e:
            return f"{e}\n" + "\n".join(federation.transcript[-_MAX_LINES:])
    return ""


def shrunk(seed: int, faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """Return fewer of the faults with which the history still breaks something."""
    for fault in faults:
        fewer = tuple(f for f in faults if f is not fault)
        if play(seed, fewer):
            faults = fewer
    return faults


def broken(seeds: Iterable[int]) -> list[str]:
    """Play the histories of the seeds; return a report of each that broke something.

    Their programs' own log lines are not written.
    """
    logging.disable(logging.CRITICAL)
    try:
        return [report for seed in seeds if (report := _report(seed))]
    finally:
        logging.disable(logging.NOTSET)


def _report(seed: int) -> str:
    if not play(seed):
        return ""
    faults = shrunk(seed, faults_of(seed))
    listed = "".join(f"\n  {fault}" for fault in faults)
    return f"seed {seed} with{listed}\n{play(seed, faults)}"
