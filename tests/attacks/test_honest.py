"""Without an attack the harness plays a round as it should be: or the rest proves nothing."""

import numpy as np
import pytest

from common.errors import BadShareError
from tests.attacks.harness import A, B, C, Table, V, planted
from worker.rounds.round import Fate


def test_an_honest_round_gives_the_sum_and_nothing_of_one_member(table: Table) -> None:
    eve, clouds = table.eve, [table.cloud(w) for w in (A, B, C, V)]
    plan = eve.plan(*(c.offer() for c in clouds))
    u2 = eve.answers(plan, *clouds)
    eve.collect(plan, u2, *clouds)
    eve.ask(plan, plan.roster, *clouds)

    total = eve.sum_of(plan, u2, plan.roster)

    assert np.array_equal(total, sum(planted(c, plan) for c in clouds))
    for c in clouds:
        with pytest.raises(BadShareError):
            eve.sum_of(plan, u2, [c.name])
    commit, _ = eve.commit(plan, u2, plan.roster)
    assert [c.recorded(eve.record(commit=commit)) for c in clouds] == [Fate.CONTRIBUTED] * 4


def test_a_member_may_be_lost_and_only_the_others_are_summed(table: Table) -> None:
    eve, clouds = table.eve, [table.cloud(w) for w in (A, B, C, V)]
    plan = eve.plan(*(c.offer() for c in clouds))
    u2 = eve.answers(plan, *clouds)
    eve.collect(plan, u2, *clouds)
    eve.ask(plan, (A, B, C), *clouds[:3])

    total = eve.sum_of(plan, u2, (A, B, C))

    assert np.array_equal(total, sum(planted(c, plan) for c in clouds[:3]))
