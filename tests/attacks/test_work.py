"""Work in one sum only, on one base, at its own weight: rules 5, 6, 7, 9, 10 and 15.

It is long because each rule has its attack, with and without it.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from common.documents import Numbers, Plan
from common.errors import BadNumbersError, BrokenUpdateError
from common.ids import WorkerId
from common.rounds import Rule
from tests.attacks.harness import A, Answers, B, C, Cloud, D, Registry, Table, V, planted
from tests.rig.rounds.masked_members import MASKED
from tests.rig.rounds.member import refused
from tests.rig.rounds.small_run import NUMBERS, Run
from worker.rounds.round import Fate
from worker.rounds.trust import Trust


def collected(table: Table, *clouds: Cloud) -> tuple[Plan, Answers]:
    """Play an honest round up to the last upload."""
    plan = table.eve.plan(*(c.offer() for c in clouds))
    u2 = table.eve.answers(plan, *clouds)
    table.eve.collect(plan, u2, *clouds)
    return plan, u2


def summed(table: Table, *clouds: Cloud) -> np.ndarray:
    """Play a whole honest round; return what the sum stands for, per parameter."""
    plan, u2 = collected(table, *clouds)
    table.eve.ask(plan, plan.roster, *clouds)
    return decoded(table, plan, u2, table.eve.sum_of(plan, u2, plan.roster))


def decoded(table: Table, plan: Plan, u2: Answers, values: np.ndarray) -> np.ndarray:
    terms = table.run.terms(plan, {w: a.numbers for w, a in u2.answers.items()})
    content, num_blocks = values.astype("<i2").tobytes(), terms.layout.num_blocks
    return terms.codec.mean(0, num_blocks, content, 65535).reshape(-1)


def likeness(found: np.ndarray, victim: Cloud) -> float:
    return float(np.corrcoef(found, victim.update)[0, 1])


# Rule 5: a model for each member, made so that only the victim learns from it (Pasquini et al.
# 2022)


def dead_end() -> Run:
    """Return a chain whose only version is one on which nothing can be learned."""
    return Run(MASKED, theta0=np.zeros(Run().schema.length, np.float32))


def on_two_models(
    table: Table, victim: Cloud, others: list[Cloud]
) -> tuple[np.ndarray, np.ndarray]:
    plan, u2 = collected(table, *others, victim)
    table.eve.ask(plan, plan.roster, *others, victim)
    return table.eve.sum_of(plan, u2, plan.roster), planted(victim, plan)


def led_astray(table: Table, unsafe: set[Rule]) -> list[Cloud]:
    run = dead_end()
    nothing = np.zeros(run.schema.length, np.float32)
    return [table.cloud(w, run=run, update=nothing, unsafe=unsafe) for w in (A, B, C)]


def test_rule_5_members_on_a_dead_model_add_nothing_to_the_victims_update(table: Table) -> None:
    victim = table.cloud(V, unsafe={Rule.HEAD})

    total, secret = on_two_models(table, victim, led_astray(table, {Rule.HEAD}))

    assert np.array_equal(total, secret)


def test_rule_5_refuses_a_plan_on_another_base_than_its_own(table: Table) -> None:
    with refused(Rule.HEAD) as caught:
        on_two_models(table, table.cloud(V, unsafe={Rule.HEAD}), led_astray(table, set()))
    assert "this worker stands on version 0" in str(caught.value)


def test_rule_5_the_victim_sees_in_the_offers_that_others_stand_elsewhere(table: Table) -> None:
    victim, eve = table.cloud(V), table.eve
    plan = eve.plan(*(c.offer() for c in (*led_astray(table, {Rule.HEAD}), victim)))
    with refused(Rule.HEAD) as caught:
        victim.planned(plan)
    assert "aws stands on another version 0" in str(caught.value)


# Rule 6: one member's update that drowns the others


LENIENT = replace(MASKED, max_share=0.999)
"""A run in which one member may be nearly all of a sum: the workers' own files say 0.6."""

SMALL_WORK = replace(NUMBERS, tokens=2)


def dominated(registry: Registry, unsafe: set[Rule], *lost: WorkerId) -> tuple[float, float]:
    """Sum much work of the victim with little of the others."""
    table = Table(registry, Run(LENIENT))
    others = [
        table.cloud(w, numbers=SMALL_WORK, trust=Trust(max_share=1.0), unsafe={Rule.SHARE})
        for w in (A, B, C)
    ]
    victim = table.cloud(V, numbers=NUMBERS, unsafe=unsafe)
    eve, clouds = table.eve, [*others, victim]
    plan, u2 = collected(table, *clouds)
    left = [c for c in clouds if c.name not in lost]
    eve.ask(plan, [c.name for c in left], *left)
    found = decoded(table, plan, u2, eve.sum_of(plan, u2, [c.name for c in left]))
    return likeness(found, victim), likeness(found, others[0])


def test_rule_6_a_sum_that_is_one_member_s_is_that_member_s_update(registry: Registry) -> None:
    like_victim, like_other = dominated(registry, {Rule.TERMS, Rule.SHARE})
    assert like_victim > 0.99
    assert abs(like_other) < 0.1


def test_rule_6_refuses_to_be_nearly_all_of_a_sum(registry: Registry) -> None:
    # The run's max_share is what rule 1 compares first. Where it is as strict as the worker's own,
    # the cap on g keeps every sum within it: tests/unit/worker/rounds/test_trust.py.
    with refused(Rule.SHARE) as caught:
        dominated(registry, {Rule.TERMS})
    assert "victim would be 0.99" in str(caught.value)
    with refused(Rule.TERMS):
        dominated(registry, {Rule.SHARE})


def test_rule_6_refuses_again_where_losses_make_it_nearly_all(registry: Registry) -> None:
    table = Table(registry, Run(LENIENT))
    some, little = replace(NUMBERS, tokens=1500), replace(NUMBERS, tokens=1)
    weights = {A: some, B: little, C: little, D: little, V: NUMBERS}
    lax = {"trust": Trust(max_share=1.0), "unsafe": {Rule.SHARE}}
    clouds = [
        table.cloud(w, numbers=n, **(lax if w != V else {"unsafe": {Rule.TERMS}}))
        for w, n in weights.items()
    ]
    plan, _ = collected(table, *clouds)  # 0.57 of U2

    with refused(Rule.SHARE):
        clouds[-1].survived((B, C, D, V))  # without aws
    assert clouds[-1].survived(plan.roster) is None


# Rule 7: the same work in two sums (So et al. 2021)


def offered_again(table: Table, others: list[Cloud], *, aborted: bool = False) -> np.ndarray:
    """Sum with the victim, keep that a secret, sum the same work again without it; subtract."""
    eve, victim = table.eve, table.cloud(V)
    first, u2 = collected(table, *others, victim)
    eve.ask(first, first.roster, *others, victim)
    total = decoded(table, first, u2, eve.sum_of(first, u2, first.roster))
    if aborted:  # Eve says that nothing came of it; nobody promised to reveal nothing
        fates = {c.recorded(eve.aborted(first, {})) for c in others}
        if fates != {Fate.FREE}:
            return np.zeros(0)
    second, u2 = collected(table, *others)
    eve.ask(second, second.roster, *others)
    return total - decoded(table, second, u2, eve.sum_of(second, u2, second.roster))


def test_rule_7_work_that_is_offered_again_is_in_the_difference_of_two_sums(table: Table) -> None:
    others = [table.cloud(w, unsafe={Rule.UNRESOLVED}) for w in (A, B, C)]

    found = offered_again(table, others)

    assert likeness(found, table.cloud(V)) > 0.999


def test_rule_7_refuses_a_plan_while_its_last_round_has_no_outcome(table: Table) -> None:
    with refused(Rule.UNRESOLVED):
        offered_again(table, [table.cloud(w) for w in (A, B, C)])


def test_rule_7_without_it_an_abort_that_proves_nothing_frees_the_work(table: Table) -> None:
    others = [table.cloud(w, unsafe={Rule.UNRESOLVED}) for w in (A, B, C)]

    found = offered_again(table, others, aborted=True)

    assert likeness(found, table.cloud(V)) > 0.999


def test_rule_7_an_abort_without_abandons_spends_the_work(table: Table) -> None:
    assert offered_again(table, [table.cloud(w) for w in (A, B, C)], aborted=True).size == 0


def fate_after(table: Table, abandons: Mapping[WorkerId, bytes], plan: Plan, c: Cloud) -> Fate:
    fate = c.recorded(table.eve.aborted(plan, abandons))
    assert fate is not None
    return fate


@pytest.mark.parametrize(
    ("num", "fate"), [(0, Fate.SPENT), (1, Fate.SPENT), (2, Fate.FREE), (4, Fate.FREE)]
)
def test_rule_7_work_is_free_from_k_minus_t_plus_1_abandons_on(
    table: Table, num: int, fate: Fate
) -> None:
    clouds = [table.cloud(w) for w in (A, B, C, V)]
    plan, _ = collected(table, *clouds)
    abandons = {c.name: s for c in clouds[:num] if (s := c.ended()) is not None}

    assert fate_after(table, abandons, plan, clouds[3]) is fate


def test_rule_7_one_more_abandon_is_needed_for_each_colluder_that_may_lie(
    registry: Registry,
) -> None:
    run = Run(replace(MASKED, min_cohort=4, colluding=1))
    for num, fate in ((2, Fate.SPENT), (3, Fate.FREE)):
        table = Table(registry, run)
        more = Trust(colluding=1, min_cohort=4)
        clouds = [table.cloud(w, trust=more) for w in (A, B, C, D, V)]
        plan, _ = collected(table, *clouds)
        abandons = {c.name: s for c in clouds[:num] if (s := c.ended()) is not None}
        assert fate_after(table, abandons, plan, clouds[4]) is fate


def test_rule_7_abandons_of_another_round_or_in_another_s_name_free_nothing(table: Table) -> None:
    clouds = [table.cloud(w) for w in (A, B, C, V)]
    first, _ = collected(table, *clouds)
    old = {c.name: s for c in clouds if (s := c.ended()) is not None}
    for c in clouds:
        c.recorded(table.eve.aborted(first, old))
    plan, _ = collected(table, *clouds)
    mine = clouds[0].ended()
    assert mine is not None

    assert fate_after(table, old, plan, clouds[3]) is Fate.SPENT
    assert fate_after(table, {A: mine, B: mine, C: mine}, plan, clouds[2]) is Fate.SPENT


def left_out(table: Table, unsafe: set[Rule], signers: int) -> Fate | None:
    """Commit a sum without the victim, whose upload was complete and is in another sum already."""
    eve, clouds = table.eve, [table.cloud(w) for w in (A, B, C)]
    victim = table.cloud(V, unsafe=unsafe)
    plan, u2 = collected(table, *clouds, victim)
    signed = {c.name: s.hex() for c in clouds if (s := c.survived((A, B, C))) is not None}
    few = dict(list(signed.items())[:signers])
    eve.collude(plan, *clouds)
    commit, _ = eve.commit(plan, u2, (A, B, C))
    return victim.recorded(eve.record(commit=replace(commit, signatures=few)))


def test_rule_7_a_commit_without_me_frees_only_by_t_signatures_under_its_list(table: Table) -> None:
    assert left_out(table, {Rule.UNRESOLVED}, 2) is Fate.FREE
    assert left_out(table, set(), 2) is Fate.SPENT
    assert left_out(table, set(), 3) is Fate.FREE


# Rule 9: numbers and members that are not as they were sent


def forged(table: Table, *clouds: Cloud) -> tuple[np.ndarray, Cloud]:
    """Say that the others' learning rates add up to so much that their updates weigh nothing."""
    eve, victim = table.eve, clouds[-1]
    plan = eve.plan(*(c.offer() for c in clouds))
    u2 = eve.answers(plan, *clouds)
    for w in (A, B, C):
        numbers = replace(NUMBERS, lr_sum=NUMBERS.lr_sum * 2**20, steps=NUMBERS.steps * 2**20)
        u2.answers[w] = replace(u2.answers[w], numbers=numbers)
    eve.collect(plan, u2, *clouds)
    eve.ask(plan, plan.roster, *clouds)
    return decoded(table, plan, u2, eve.sum_of(plan, u2, plan.roster)), victim


def test_rule_9_with_others_numbers_forged_the_sum_is_the_victims_update(table: Table) -> None:
    clouds = [table.cloud(w, unsafe={Rule.MEMBERS}) for w in (A, B, C, V)]

    found, victim = forged(table, *clouds)

    assert likeness(found, victim) > 0.999


def test_rule_9_refuses_answers_that_their_members_did_not_sign(table: Table) -> None:
    others = [table.cloud(w, unsafe={Rule.MEMBERS}) for w in (A, B, C)]
    victim = table.cloud(V)
    with refused(Rule.MEMBERS) as caught:
        forged(table, *others, victim)
    assert "the signature of the answer of aws is wrong" in str(caught.value)
    assert not victim.sent


def test_rule_9_refuses_its_own_numbers_changed(table: Table) -> None:
    with refused(Rule.MEMBERS) as caught:
        forged(table, *(table.cloud(w) for w in (A, B, C, V)))
    assert "own answer" in str(caught.value)


def test_rule_9_refuses_other_members_than_before(table: Table) -> None:
    eve, clouds = table.eve, [table.cloud(w) for w in (A, B, C, V)]
    plan, u2 = collected(table, *clouds)
    with refused(Rule.MEMBERS):
        eve.collect(plan, u2.only(A, B, V), clouds[3])
    with pytest.raises(AssertionError, match="the same members again"):
        eve.collect(plan, u2, clouds[3])


def test_rule_9_refuses_a_u2_below_the_threshold(table: Table) -> None:
    eve, clouds = table.eve, [table.cloud(w) for w in (A, B, C, V)]
    plan = eve.plan(*(c.offer() for c in clouds))
    u2 = eve.answers(plan, *clouds)
    with refused(Rule.MEMBERS) as caught:
        eve.collect(plan, u2.only(A, V), clouds[3])
    assert "2 members, the plan's threshold is 3" in str(caught.value)


# Rule 10: masks are used once


def masked_twice(table: Table, victim: Cloud) -> np.ndarray:
    """Have the victim send its update again, after it learned more; subtract."""
    eve, others = table.eve, [table.cloud(w) for w in (A, B)]
    plan, u2 = collected(table, *others, victim)
    first, before = eve.spool[plan.round, V][0], planted(victim, plan)
    victim.update = victim.update * np.float32(3)
    second = victim.upload(plan, u2.answers)[0]
    difference = (ring(second) - ring(first)).astype(np.int16).astype(np.int64)
    assert np.array_equal(difference, planted(victim, plan) - before)
    return difference


def ring(content: bytes) -> np.ndarray:
    return np.frombuffer(content, "<u2")


def test_rule_10_two_payloads_under_one_mask_lay_their_difference_open(table: Table) -> None:
    victim = table.cloud(V, unsafe={Rule.REPEATED})
    masked_twice(table, victim)


def test_rule_10_refuses_to_use_its_masks_again(table: Table) -> None:
    victim = table.cloud(V)
    with refused(Rule.REPEATED):
        masked_twice(table, victim)


def test_rule_10_an_answer_sent_again_is_the_same_whatever_the_numbers_are_by_then(
    table: Table,
) -> None:
    victim, eve = table.cloud(V), table.eve
    plan = eve.plan(*(c.offer() for c in (table.cloud(A), table.cloud(B), victim)))
    answer = victim.planned(plan)
    assert victim.attempt is not None
    assert victim.attempt.answer(replace(NUMBERS, tokens=9)) == answer


# Rule 15: updates and numbers that are not finite


def test_rule_15_refuses_its_own_update_with_nan(table: Table) -> None:
    victim, eve = table.cloud(V), table.eve
    plan = eve.plan(*(c.offer() for c in (table.cloud(A), table.cloud(B), victim)))
    with refused(Rule.OWN_UPDATE):
        victim.planned(plan, finite=False)
    assert victim.attempt is not None
    assert not victim.sent


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rule_15_holds_again_where_the_update_is_encoded(table: Table, bad: float) -> None:
    victim, eve = table.cloud(V, unsafe={Rule.OWN_UPDATE}), table.eve
    victim.update = victim.update.copy()
    victim.update[0] = bad
    others = [table.cloud(w) for w in (A, B)]
    plan = eve.plan(*(c.offer() for c in (*others, victim)))
    answer, sealed = victim.planned(plan, finite=False)
    u2 = eve.answers(plan, *others)
    u2.answers[V], u2.sealed[V] = answer, sealed
    with pytest.raises(BrokenUpdateError):
        eve.collect(plan, u2, *others, victim)


IMPOSSIBLE = [  # NaN and infinity are in no document: common/canonical.py refuses their bytes
    replace(NUMBERS, lr_sum=1e300),
    replace(NUMBERS, lr_sum=-1.0),
    replace(NUMBERS, lr_sum=1.01 * NUMBERS.steps * MASKED.schedule.peak),  # no rate is above peak
    replace(NUMBERS, lr_sum=2.0**-30),  # nor as low: at this its weight would drown the others'
    replace(NUMBERS, tokens=0),
    replace(NUMBERS, age_256=2049),
]


def impossible(table: Table, numbers: Numbers, victim: Cloud) -> None:
    eve = table.eve
    broken = table.cloud(A, unsafe={Rule.OWN_UPDATE})
    other = table.cloud(B, unsafe={Rule.OWN_UPDATE})
    broken.numbers = numbers
    plan = eve.plan(*(c.offer() for c in (broken, other, victim)))
    u2 = eve.answers(plan, broken, other, victim)
    eve.collect(plan, u2, victim)


@pytest.mark.parametrize("numbers", IMPOSSIBLE)
def test_rule_15_refuses_another_member_s_impossible_numbers_and_names_it(
    table: Table, numbers: Numbers
) -> None:
    victim = table.cloud(V)
    with refused(Rule.OWN_UPDATE) as caught:
        impossible(table, numbers, victim)
    assert str(caught.value).startswith("aws: ")
    assert not victim.sent


def test_rule_15_without_it_the_weights_stop_the_worker_after_it_exposed_its_work(
    table: Table,
) -> None:
    victim = table.cloud(V, unsafe={Rule.OWN_UPDATE})
    with pytest.raises(BadNumbersError):
        impossible(table, replace(NUMBERS, lr_sum=-1.0), victim)
