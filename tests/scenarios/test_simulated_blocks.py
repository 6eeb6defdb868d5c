"""Bugs on purpose in what becomes of blocks that do not travel: the simulation must find them."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any
from unittest import mock

import numpy as np
import pytest

from common.codec import Encoded, topk
from common.codec.selection import Selection
from common.terms import Terms, round_terms
from services.simulator.faults import Fault, KillCoordinator, Loss
from services.simulator.many import play
from services.simulator.runs import algorithm_of, num_blocks
from services.worker import upload
from services.worker.agent import Agent
from worker.round import Fate
from worker.update import _Tiles

NUM_TRIED = 12
ENOUGH = 2
"""Of the histories that are tried with a bug, at least so many must find it."""

right_settle = Agent._settle
right_encode = topk._Encoder.encode


async def takes_off_everything(self: Agent, round_id: Any, fate: Fate) -> None:
    (self._state.stage / "anchor.f32").unlink(missing_ok=True)
    await right_settle(self, round_id, fate)


async def takes_off_all_that_is_spent(self: Agent, round_id: Any, fate: Fate) -> None:
    if fate is Fate.SPENT:
        (self._state.stage / "anchor.f32").unlink(missing_ok=True)
    await right_settle(self, round_id, fate)


def forgets_what_stays(self: _Tiles) -> Iterator[Any]:
    yield from ()


def encodes_other_blocks(*args: Any) -> Terms:
    terms = round_terms(*args)
    wrong = np.sort((terms.selection.blocks + 1) % terms.selection.num_blocks)
    return replace(terms, selection=Selection(wrong, terms.selection.num_blocks, True))


def keeps_what_was_sent(self: Any, block: int, difference: Any, *args: Any) -> Encoded:
    kept = np.array(difference)
    encoded = right_encode(self, block, difference, *args)
    return Encoded(kept, encoded.square)


@dataclass(frozen=True)
class Bug:
    """Args: what is wrong, in runs of which codecs and with which faults, and what is said."""

    patch: Callable[[], AbstractContextManager[Any]]
    matters: Callable[[int], bool]
    faults: Callable[[int], tuple[Fault, ...]]
    said: str


def sends_some_blocks(seed: int) -> bool:
    return algorithm_of(seed).codec.kind in ("cyclic", "randk", "heavy")


def spends_some_blocks(seed: int) -> bool:
    """In the masked tier what was uploaded is spent where an abort proves nothing."""
    return sends_some_blocks(seed) and algorithm_of(seed).masked


def is_topk(seed: int) -> bool:
    return algorithm_of(seed).codec.kind == "topk"


def nothing(seed: int) -> tuple[Fault, ...]:
    return ()


def lost_once_revealed(seed: int) -> tuple[Fault, ...]:
    """The leader dies before its commit: all have revealed shares, so no abort proves anything."""
    return (KillCoordinator(1 + seed % 3, Loss.PROCESS, "heard VersionComputed"),)


BUGS = {
    "what did not travel is taken off the parameters": Bug(
        lambda: mock.patch.object(Agent, "_settle", takes_off_everything),
        sends_some_blocks,
        nothing,
        r"\(iv\) w\d stands \S+ steps off its base in block \d",
    ),
    "what did not travel is taken off with spent work": Bug(
        lambda: mock.patch.object(Agent, "_settle", takes_off_all_that_is_spent),
        spends_some_blocks,
        lost_once_revealed,
        r"\(iv\) w\d stands \S+ steps off its base in block \d",
    ),
    "the residual of what does not travel is lost": Bug(
        lambda: mock.patch.object(_Tiles, "unsent_residual", forgets_what_stays),
        sends_some_blocks,
        nothing,
        r"\(iv\) what is committed and kept is off",
    ),
    "a worker sends other blocks than everybody reads": Bug(
        lambda: mock.patch.object(upload, "round_terms", encodes_other_blocks),
        lambda seed: algorithm_of(seed).codec.kind in ("randk", "heavy"),
        nothing,
        r"\(iv\) ",
    ),
    "what topk sent is kept, too": Bug(
        lambda: mock.patch.object(topk._Encoder, "encode", keeps_what_was_sent),
        is_topk,
        nothing,
        r"\(iv\) what is committed and kept is off",
    ),
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", BUGS)
def test_a_seeded_bug_of_blocks_is_found(name: str) -> None:
    bug = BUGS[name]
    seeds = list(islice(filter(bug.matters, count()), NUM_TRIED))
    assert not [report for seed in seeds[:2] if (report := play(seed, bug.faults(seed)))]
    with bug.patch():
        reports = (play(seed, bug.faults(seed)) for seed in seeds)
        found = (report for report in reports if re.search(bug.said, report))
        assert len(list(islice(found, ENOUGH))) == ENOUGH


def test_histories_play_every_codec_in_every_tier_that_has_it() -> None:
    several = [seed for seed in range(400) if num_blocks(seed) > 1]
    played = Counter((algorithm_of(s).tier, algorithm_of(s).codec.kind) for s in several)
    rings = ("dense", "cyclic", "randk", "heavy")
    assert played.keys() == {
        *(("masked", kind) for kind in rings),
        *(("tls", kind) for kind in (*rings, "topk", "float32")),
    }
    assert min(played.values()) > 5
    assert {num_blocks(seed) for seed in range(400)} == {1, 2, 3, 4, 5}
    assert all(algorithm_of(s).codec.one_in <= num_blocks(s) or is_topk(s) for s in several)
