"""Many histories, and what is said of those that break a promise: seed, faults, transcript."""

import functools
import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeVar
from unittest import mock

from common import canonical
from services.simulator.faults import Fault, faults_of
from services.simulator.federation import BrokenError, Federation

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a file system in memory, for speed
_MAX_LINES: Final = 60

T = TypeVar("T")

_DECODE: Final = canonical.decode
_ENCODE: Final = canonical.encode
"""A document is immutable, and all workers of a history read the same ones: once will do."""

_MOST: Final = 2**13
_ENCODED: Final[dict[int, tuple[object, bytes]]] = {}


@functools.lru_cache(maxsize=_MOST)
def _decode(content: bytes, kind: type[T]) -> T:
    return _DECODE(content, kind)


def _encode(document: object) -> bytes:
    found, content = _ENCODED.get(id(document), (None, b""))
    if found is not document:
        content = _ENCODE(document)
        if len(_ENCODED) >= _MOST:
            _ENCODED.clear()
        _ENCODED[id(document)] = document, content
    return content


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
            with mock.patch.multiple(canonical, decode=_decode, encode=_encode):
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
