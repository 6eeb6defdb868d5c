"""Bugs on purpose in what becomes of blocks that do not travel: the simulation must find them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.codec import Encoded, topk
from common.codec.selection import Selection
from common.terms import Terms, round_terms
from services.worker import upload
from services.worker.local_work import LocalWork
from simulator.faults import Fault, KillCoordinator, Loss
from simulator.runs import algorithm_of, num_blocks
from tests.rig.rounds.seeded_bug import Bug, nothing, patched
from worker.rounds.ports import Settle
from worker.rounds.round import Fate
from worker.rounds.update import _Tiles

NUM_TRIED = 12
right_settle = LocalWork.settle
right_encode = topk._TopkEncoder.encode


async def takes_off_everything(self: LocalWork, settled: Settle) -> None:
    self.state.stage.anchor.unlink(missing_ok=True)
    await right_settle(self, settled)


async def takes_off_all_that_is_spent(self: LocalWork, settled: Settle) -> None:
    if settled.fate is Fate.SPENT:
        self.state.stage.anchor.unlink(missing_ok=True)
    await right_settle(self, settled)


def forgets_what_stays(self: _Tiles) -> Iterator[Any]:
    yield from ()


def encodes_other_blocks(*args: Any) -> Terms:
    terms = round_terms(*args)
    wrong = np.sort((terms.selection.blocks + 1) % terms.selection.num_blocks)
    return replace(terms, selection=Selection(wrong, terms.selection.num_blocks))


def keeps_what_was_sent(self: Any, block: int, difference: Any, *args: Any) -> Encoded:
    kept = np.array(difference)
    encoded = right_encode(self, block, difference, *args)
    return Encoded(kept, encoded.square)


def sends_some_blocks(seed: int) -> bool:
    return algorithm_of(seed).codec.kind in ("cyclic", "randk", "heavy")


def spends_some_blocks(seed: int) -> bool:
    """In the masked tier what was uploaded is spent where an abort proves nothing."""
    return sends_some_blocks(seed) and algorithm_of(seed).masked


def is_topk(seed: int) -> bool:
    return algorithm_of(seed).codec.kind == "topk"


def lost_once_revealed(seed: int) -> tuple[Fault, ...]:
    """The leader dies before its commit: all have revealed shares, so no abort proves anything."""
    return (KillCoordinator(1 + seed % 3, Loss.PROCESS, "heard Computed"),)


BUGS = {
    "what did not travel is taken off the parameters": Bug(
        (patched(LocalWork, "settle", takes_off_everything),),
        nothing,
        r"\(iv\) w\d stands \S+ steps off its base in block \d",
        sends_some_blocks,
    ),
    "what did not travel is taken off with spent work": Bug(
        (patched(LocalWork, "settle", takes_off_all_that_is_spent),),
        lost_once_revealed,
        r"\(iv\) w\d stands \S+ steps off its base in block \d",
        spends_some_blocks,
    ),
    "the residual of what does not travel is lost": Bug(
        (patched(_Tiles, "unsent_residual", forgets_what_stays),),
        nothing,
        r"\(iv\) what is committed and kept is off",
        sends_some_blocks,
    ),
    "a worker sends other blocks than everybody reads": Bug(
        (patched(upload, "round_terms", encodes_other_blocks),),
        nothing,
        r"\(iv\) ",
        lambda seed: algorithm_of(seed).codec.kind in ("randk", "heavy"),
    ),
    "what topk sent is kept, too": Bug(
        (patched(topk._TopkEncoder, "encode", keeps_what_was_sent),),
        nothing,
        r"\(iv\) what is committed and kept is off",
        is_topk,
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_seeded_bug_of_blocks_is_found(name: str) -> None:
    assert BUGS[name].is_found(NUM_TRIED)


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
