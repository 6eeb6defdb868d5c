"""What is done with the records that are held."""

from itertools import product

import pytest

from common.documents import Control, Record
from tests.rig.rounds.small_chain import Coordinator
from worker.rounds.belief import BeginAt, Follow, Move, Verify, Wait, next_move


def held(kinds: str) -> list[Record]:
    """Return records: C a commit, R a roll-back, . one that moves nothing."""
    coordinator = Coordinator()
    first = coordinator.run.version
    made = {
        "C": coordinator.step,
        "R": lambda: coordinator.roll_back(0, first),
        ".": lambda: coordinator.append(control=Control("pause", "ann", "")),
    }
    return [made[kind]() for kind in kinds]


def move(kinds: str, believed: set[int], *, begun: bool = True, can_verify: bool = False) -> Move:
    records = held(kinds)
    return next_move(
        records,
        lambda record: records.index(record) in believed,
        begun=begun,
        can_verify=can_verify,
    )


@pytest.mark.parametrize(
    ("kinds", "believed", "expected"),
    [
        (".", set(), Follow(1)),
        ("..C", set(), Follow(2)),
        ("C", set(), Wait()),
        ("C..", set(), Wait()),
        ("C", {0}, Follow(1)),
        ("C.", {0}, Follow(1)),
        (".C.", {1}, Follow(2)),
        ("CC", {0}, Follow(1)),
        ("CC", {1}, Follow(2)),
        ("CCC", {0, 1}, Follow(2)),
        ("CR", {1}, Follow(2)),
        ("CRC", {1}, Follow(2)),
        ("CRC", {2}, Follow(3)),
    ],
)
def test_records_are_followed_to_the_last_version_that_is_believed(
    kinds: str, believed: set[int], expected: Move
) -> None:
    assert move(kinds, believed) == expected


@pytest.mark.parametrize("believed", [set(), {0}])
def test_a_sum_of_one_s_own_is_checked_before_it_is_followed(believed: set[int]) -> None:
    assert move("C", believed, can_verify=True) == Verify()
    assert move("C..", believed, can_verify=True) == Verify()


def test_who_catches_up_checks_no_sum_that_others_have_built_upon() -> None:
    assert move("CC", {1}, can_verify=True) == Follow(2)


def test_a_newcomer_begins_at_the_first_version_that_is_believed() -> None:
    assert move("CC", set(), begun=False) == Wait()
    assert move("..", set(), begun=False) == Wait()
    assert move("CCC", {1, 2}, begun=False) == BeginAt(1)


def test_no_version_is_moved_to_that_is_not_believed() -> None:
    for length in range(1, 4):
        for kinds in map("".join, product("CR.", repeat=length)):
            for flags in product((False, True), repeat=length):
                believed = {i for i, flag in enumerate(flags) if flag and kinds[i] != "."}
                found = move(kinds, believed)
                if isinstance(found, Follow):
                    moving = [i for i in range(found.num) if kinds[i] != "."]
                    assert not moving or moving[-1] in believed
