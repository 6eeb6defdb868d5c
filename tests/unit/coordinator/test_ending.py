"""Who will never reveal a share: enough of them, and the work below the masks is free."""

import pytest

from common.errors import BadSignatureError, NotAMemberError
from common.ids import WorkerId
from common.secagg.transcript import abandon_content
from coordinator.ending import Ending
from tests.rig.rounds.masked_members import MASKED, Cloud, signer
from tests.rig.rounds.masked_round import plan_of
from tests.rig.rounds.small_run import WORKERS, Run

AWS, AZURE, GCP, ONPREM = WORKERS
PLAN = plan_of(Run(MASKED), {w: Cloud(w) for w in WORKERS})


def word(worker: WorkerId) -> bytes:
    return signer(worker)("abandon", abandon_content(PLAN))


@pytest.mark.parametrize(("colluding", "needed"), [(0, 2), (1, 3)])
def test_so_many_words_are_needed_that_t_shares_cannot_come_any_more(
    colluding: int, needed: int
) -> None:
    ending = Ending(PLAN, colluding)
    for num, worker in enumerate(WORKERS[:needed], start=1):
        assert not ending.enough
        ending.abandon(worker, word(worker))
        ending.abandon(worker, word(worker))  # once is as good as twice
        assert len(ending.signatures) == num
    assert ending.enough
    assert ending.waiting_for() == WORKERS[needed:]


def test_a_word_that_is_another_s_is_refused_and_counts_for_nobody() -> None:
    ending = Ending(PLAN, 0)
    with pytest.raises(BadSignatureError, match="aws: "):
        ending.abandon(AWS, word(AZURE))
    with pytest.raises(BadSignatureError):
        ending.abandon(AWS, signer(AWS)("list", abandon_content(PLAN)))  # for another purpose
    with pytest.raises(NotAMemberError):
        ending.abandon(WorkerId("stranger"), word(AWS))
    assert ending.waiting_for() == WORKERS
