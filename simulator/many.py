"""Plays many histories; says of those that break a promise their seed, faults and transcript."""

import functools
import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

from common import canonical
from common.secagg import signatures, transcript
from common.secagg.signatures import IdentityPublicKey
from simulator.faults import Fault, faults_of
from simulator.federation import BrokenError, SimulatedFederation

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a file system in memory, for speed
_MAX_LINES: Final = 60


@contextmanager
def _once() -> Iterator[None]:
    """Do once what gives the same each time: documents are immutable, and all read the same ones.

    What was given is kept, so nothing else can have its identity meanwhile.
    """
    right_encode, right_verify = canonical.encode, signatures.verify
    encoded: dict[int, tuple[object, bytes]] = {}
    verified: dict[tuple[object, ...], object] = {}

    def encode(document: object) -> bytes:
        if id(document) not in encoded:
            encoded[id(document)] = document, right_encode(document)
        return encoded[id(document)][1]

    def verify(key: IdentityPublicKey, *signed: Any) -> None:
        if (id(key), *signed) not in verified:
            right_verify(key, *signed)  # raises
            verified[id(key), *signed] = key

    decode = functools.cache(canonical.decode)
    certified_key = functools.cache(transcript.certified_key)
    with (
        mock.patch.multiple(canonical, decode=decode, encode=encode),
        mock.patch.multiple(transcript, verify=verify, certified_key=certified_key),
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
        federation = SimulatedFederation(seed, Path(folder), faults)
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
