"""The masks come off the sum, or the sum is refused: tests/scenarios compare it to the bit."""

from collections.abc import Callable

import pytest

from common.errors import BadUpdateError
from common.ids import WorkerId
from tests.rig.rounds.masked_members import MASKED
from tests.rig.rounds.masked_round import Loss, Played, play
from tests.rig.rounds.small_run import WORKERS, Run, random_vector

AWS, AZURE, GCP, ONPREM = WORKERS
DATA, SIDE, TAGS = 0, 1, 2
"""Shards of a small update."""


@pytest.fixture
def played() -> Played:
    """A round of four whose last member is lost with its upload incomplete."""
    run = Run(MASKED)
    thetas = {w: run.theta() - random_vector(run.schema, i, 0.01) for i, w in enumerate(WORKERS)}
    return play(run, thetas, {ONPREM: Loss.LAST_SHARD})


def flip(played: Played, worker: WorkerId, shard: int, at: int) -> None:
    content = bytearray(played.spool[worker][shard])
    content[at] ^= 1
    played.spool[worker][shard] = bytes(content)


def test_the_sum_of_the_survivors_comes_out(played: Played) -> None:
    side, content = played.aggregate()

    assert played.terms is not None
    assert len(content) == played.terms.layout.aggregate_bytes(3)
    assert side.loss_2_20 == 3 * 2**20


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda p: flip(p, AWS, DATA, 777), "shard 0: the sum is not that of its public tags"),
        (lambda p: flip(p, GCP, SIDE, 30), "shard 1: the sum is not that of its public tags"),
        (lambda p: flip(p, AZURE, TAGS, 0), "shard 0: the sum is not that of its public tags"),
        (lambda p: flip(p, AWS, SIDE, 6), "shard 1: a side value is "),
    ],
)
def test_a_flipped_bit_is_found_and_its_shard_named(
    played: Played, change: Callable[[Played], None], complaint: str
) -> None:
    change(played)

    with pytest.raises(BadUpdateError, match=complaint):
        played.aggregate()


def test_another_set_of_uploads_than_that_which_was_revealed_gives_nothing(played: Played) -> None:
    played.spool[AWS] = played.spool[AZURE]

    with pytest.raises(BadUpdateError):
        played.aggregate()
