"""Bugs on purpose in what workers believe: with a coordinator that lies the simulation finds them.

Each is one check switched off, and one kind of lie that it is there for (`liar.py`).
"""

from collections.abc import Callable
from unittest import mock

import pytest

from common.log_head import LogHead
from services.versions.replica import Replica
from simulator.faults import Fault, Lie, faults_of
from simulator.liar import KINDS
from simulator.runs import algorithm_of, num_workers
from tests.rig.rounds.seeded_bug import Bug, patched
from worker.rounds.belief import Belief
from worker.rounds.masked_tier import MaskedTier

NUM_TRIED = 16


def is_masked(seed: int) -> bool:
    return algorithm_of(seed).masked


def lies(kind: str, at_s: float = 0.5) -> Callable[[int], tuple[Fault, ...]]:
    def faults(seed: int) -> tuple[Fault, ...]:
        return (Lie(at_s + seed % 8 / 8, seed % num_workers(seed), 3.0, kind),)

    return faults


def anything(self: object, *_: object) -> bool:
    return True


def no_complaint(self: object, *_: object) -> str:
    return ""


def nothing_to_see(self: object, *_: object) -> None:
    pass


TRUSTS_RECORDS = patched(Belief, "believes", anything)

BUGS = {
    "a version is stood on without words": Bug(
        (TRUSTS_RECORDS, patched(Replica, "attempt", nothing_to_see)),
        lies("forges"),
        r"\(viii\) w\d (trains on|vouches for)",
        is_masked,
    ),
    "a word is given for a step that was not computed": Bug(
        (patched(Replica, "attempt", nothing_to_see),),
        lies("forges"),
        r"\(viii\) w\d vouches for version \d+ \w+, which is in no true log",
        is_masked,
    ),
    "fewer words than needed are enough": Bug(
        (lambda: mock.patch("worker.rounds.belief.agreement", return_value=1),),
        lambda seed: (),
        r"\(viii\) w\d (trains on|offers on) version \d+ \w+ on \d words, \d are needed",
        is_masked,
    ),
    "a roll-back needs no order": Bug(
        (
            patched(MaskedTier, "rollback_complaint", no_complaint),
            patched(Belief, "believes_origin", anything),
        ),
        lies("returns", 2.0),
        r"\(viii\) w\d trains on a version \d+ that is in no true log",
        is_masked,
    ),
    "a record's numbers are anything": Bug(
        (patched(LogHead, "_complaint", no_complaint), TRUSTS_RECORDS),
        lies("invents", 1.5),
        r"\(viii\) w\d trains on a version -?\d+ that is in no true log|cannot go on|\(vii\)",
        is_masked,
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_a_seeded_bug_of_belief_is_found(name: str) -> None:
    assert BUGS[name].is_found(NUM_TRIED)


def test_a_third_of_the_masked_histories_are_lied_to_in_every_way() -> None:
    masked = [seed for seed in range(1200) if is_masked(seed)]
    told = [f.kind for seed in masked for f in faults_of(seed) if isinstance(f, Lie)]
    assert len(masked) / 4 < len(told) < len(masked) / 2
    assert set(told) == set(KINDS)
