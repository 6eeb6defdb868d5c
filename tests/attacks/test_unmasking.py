"""What is revealed of a sum: rules 8 (shares), 11, 12 and 13, and what masks rest on.

It is long because each rule has its attack, with and without it.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from common.documents import Plan
from common.errors import BadCommitError, BadShareError
from common.ids import WorkerId
from common.rounds import Rule
from common.secagg.keys import share_key
from common.secagg.sealing import seal, unseal
from common.secagg.shamir import PRIME, SHARE_BYTES, x_coordinate
from common.secagg.sums import check_aggregate
from common.secagg.transcript import enc_key_of, plan_hash, signed_content
from coordinator.unmask import Unmasking
from tests.attacks.harness import A, Answers, B, C, Cloud, D, E, Table, V, planted
from tests.rig.rounds.member import refused
from tests.rig.rounds.small_run import bytes_of


def collected(table: Table, *clouds: Cloud) -> tuple[Plan, Answers]:
    """Play an honest round up to the last upload."""
    plan = table.eve.plan(*(c.offer() for c in clouds))
    u2 = table.eve.answers(plan, *clouds)
    table.eve.collect(plan, u2, *clouds)
    return plan, u2


def noise(found: np.ndarray, secret: np.ndarray) -> bool:
    """Return whether `found` tells no more of a secret than uniform ring values do."""
    buckets = np.bincount((found & 0xFF).astype(int), minlength=256)
    expected = len(found) / 256
    chi_squared = float(((buckets - expected) ** 2 / expected).sum())  # 255 +- 22.6
    likeness = float(np.corrcoef(found, secret)[0, 1])  # 0 +- 1/sqrt(len)
    same = int((found == secret).sum())
    return chi_squared < 400 and abs(likeness) < 5 / len(found) ** 0.5 and same < 10


# Rule 11: two survivor lists, each properly signed. What ConsistencyCheck is for in figure 4 of
# Bonawitz et al. 2017: of each user it reveals shares of b_u or of the mask key, never of both


def two_lists(table: Table, *clouds: Cloud) -> np.ndarray:
    """Let everybody reveal the sum of all; then say that the victim was lost."""
    eve, (*others, victim) = table.eve, clouds
    plan, u2 = collected(table, *clouds)
    eve.ask(plan, plan.roster, *clouds)
    eve.ask(plan, (A, B, C), *others)
    own, mask = (eve.put_together(plan, known, V) for known in (eve.own, eve.mask))
    found = eve.value_of(plan, u2, V, own, mask)
    assert np.array_equal(found, planted(victim, plan))
    return found


def test_rule_11_two_lists_of_survivors_lay_a_member_open(table: Table) -> None:
    two_lists(table, *(table.cloud(w, unsafe={Rule.SURVIVORS}) for w in (A, B, C)), table.cloud(V))


def test_rule_11_refuses_a_second_list(table: Table) -> None:
    with refused(Rule.SURVIVORS):
        two_lists(table, *(table.cloud(w) for w in (A, B, C, V)))


def test_rule_11_one_member_that_stands_firm_is_enough(table: Table) -> None:
    firm, victim = table.cloud(A), table.cloud(V)
    lax = [table.cloud(w, unsafe={Rule.SURVIVORS, Rule.SIGNATURES}) for w in (B, C)]
    plan, _ = collected(table, firm, *lax, victim)
    table.eve.ask(plan, plan.roster, firm, *lax, victim)
    table.eve.ask(plan, (A, B, C), *lax)

    with refused(Rule.SURVIVORS):
        firm.survived((A, B, C))
    with pytest.raises(BadShareError):
        table.eve.put_together(plan, table.eve.mask, V)


@pytest.mark.parametrize(
    "survivors", [(A, B), (A, B, B, C), (A, B, C, D), (B, C, V)], ids=["few", "twice", "D", "not I"]
)
def test_rule_11_refuses_lists_that_are_none(table: Table, survivors: tuple[WorkerId, ...]) -> None:
    clouds = [table.cloud(w) for w in (A, B, C, V)]
    collected(table, *clouds)
    assert clouds[0].attempt is not None
    with refused(Rule.SURVIVORS):
        clouds[0].attempt.survived(survivors)


def test_the_last_shard_stalled_makes_no_member_lost_that_is_in_the_sum(table: Table) -> None:
    # Eve has all of the victim's values but its tags, so its upload never ends: she calls it lost,
    # gets the sum without it, and later asks for the sum with it.
    eve, clouds = table.eve, [table.cloud(w) for w in (A, B, C, V)]
    plan, u2 = collected(table, *clouds)
    late = eve.spool[plan.round, V].pop()
    eve.ask(plan, (A, B, C), *clouds[:3])
    mask = eve.put_together(plan, eve.mask, V)
    eve.spool[plan.round, V].append(late)

    found = eve.value_of(plan, u2, V, bytes(32), mask)  # its own mask stays on

    assert noise(found, planted(clouds[3], plan))
    with refused(Rule.SURVIVORS):
        eve.ask(plan, plan.roster, *clouds[:3])


# Rule 12: another list for each member

LISTS = {A: (A, B, E), B: (A, B, C, D), C: (A, B, C), D: (A, B, D), E: (A, B, E)}
"""Each is long enough, and none was seen by two members: c, d and e are each left out by three."""


def mixed(table: Table, *clouds: Cloud) -> None:
    """Get a sum of two members, of whom one subtracts its own."""
    eve = table.eve
    plan, u2 = collected(table, *clouds)
    for c in clouds:
        eve.ask(plan, LISTS[c.name], c)
    total = eve.sum_of(plan, u2, (A, B))
    assert np.array_equal(total - planted(clouds[0], plan), planted(clouds[1], plan))


def test_rule_12_without_signatures_three_lists_make_a_sum_of_two(table: Table) -> None:
    mixed(table, *(table.cloud(w, unsafe={Rule.SIGNATURES}) for w in (A, B, C, D, E)))


def test_rule_12_refuses_a_list_that_too_few_signed(table: Table) -> None:
    with refused(Rule.SIGNATURES):
        mixed(table, *(table.cloud(w) for w in (A, B, C, D, E)))


def test_rule_12_refuses_signatures_of_another_attempt(table: Table) -> None:
    eve, clouds = table.eve, [table.cloud(w) for w in (A, B, C, D)]
    first, _ = collected(table, *clouds)
    old = {c.name: c.survived((A, B, C)) or b"" for c in clouds[:3]}
    assert all(old.values())
    for c in clouds:
        c.recorded(eve.aborted(first, {}))
    second, _ = collected(table, *clouds)

    with refused(Rule.SIGNATURES):
        eve.ask(second, (A, B, C), clouds[0], lists=old)


def test_rule_12_refuses_one_member_s_signature_in_three_names(table: Table) -> None:
    eve, clouds = table.eve, [table.cloud(w) for w in (A, B, C, D)]
    plan, _ = collected(table, *clouds)
    own = clouds[0].survived((A, B, C))
    assert own is not None

    with refused(Rule.SIGNATURES):
        eve.ask(plan, (A, B, C), clouds[0], lists={A: own, B: own, C: own})


def test_rule_12_refuses_signatures_of_members_that_were_told_another_u2(table: Table) -> None:
    eve, clouds = table.eve, [table.cloud(w) for w in (A, B, C, D)]
    plan = eve.plan(*(c.offer() for c in clouds))
    u2 = eve.answers(plan, *clouds)
    eve.collect(plan, u2, clouds[0])
    eve.collect(plan, u2.only(A, B, C), *clouds[1:3])  # for them S is U2: nothing to be signed
    signatures = {c.name: c.survived((A, B, C)) for c in clouds[:3]}

    assert [w for w, s in signatures.items() if s is not None] == [A]
    with refused(Rule.SIGNATURES):
        clouds[0].reveal({w: s for w, s in signatures.items() if s is not None})


# Rule 13: nothing after an Abandon, and no share that is not held


def abandoned(table: Table, *clouds: Cloud) -> np.ndarray:
    """Free everybody's work by Abandons, then have it revealed; sum again without the victim."""
    eve, others = table.eve, clouds[:-1]
    first, u2 = collected(table, *clouds)
    promised = {c.name: s for c in clouds if (s := c.ended()) is not None}
    eve.ask(first, first.roster, *clouds)
    with_victim = eve.sum_of(first, u2, first.roster)
    for c in clouds:
        c.recorded(eve.aborted(first, promised))
    second, u2 = collected(table, *others)
    eve.ask(second, second.roster, *others)
    without = eve.sum_of(second, u2, second.roster)
    return real(table, with_victim, first) - real(table, without, second)


def real(table: Table, values: np.ndarray, plan: Plan) -> np.ndarray:
    """Return what ring values stand for: the sum of updates, in rotated coordinates."""
    terms = table.run.terms(plan, dict.fromkeys(plan.roster, table.run.numbers()[A]))
    content = values.astype("<i2").tobytes()
    return terms.codec.mean(0, terms.layout.num_blocks, content, terms.weights.v[A]).reshape(-1)


def likeness(table: Table, found: np.ndarray, victim: Cloud) -> float:
    return float(np.corrcoef(found, victim.update)[0, 1])


def test_rule_13_shares_after_an_abandon_put_one_update_into_two_sums(table: Table) -> None:
    clouds = [table.cloud(w, unsafe={Rule.REVEAL}) for w in (A, B, C, V)]

    found = abandoned(table, *clouds)

    assert likeness(table, found, clouds[3]) > 0.999


def test_rule_13_refuses_shares_after_its_own_abandon(table: Table) -> None:
    with refused(Rule.REVEAL):
        abandoned(table, *(table.cloud(w) for w in (A, B, C, V)))


def test_rule_13_a_member_that_may_have_revealed_never_abandons(table: Table) -> None:
    clouds = [table.cloud(w) for w in (A, B, C, V)]
    plan, _ = collected(table, *clouds)
    table.eve.ask(plan, plan.roster, *clouds)
    assert [c.ended() for c in clouds] == [None] * 4


def test_rule_13_refuses_to_reveal_shares_that_it_does_not_hold(table: Table) -> None:
    eve, clouds = table.eve, [table.cloud(w) for w in (A, B, V)]
    blind = table.cloud(C, unsafe={Rule.SEALED})
    plan = eve.plan(*(c.offer() for c in (*clouds, blind)))
    u2 = eve.answers(plan, *clouds, blind)
    eve.collect(plan, u2, *clouds)
    del u2.sealed[V][C]
    eve.collect(plan, u2, blind)
    with refused(Rule.REVEAL) as caught:
        eve.ask(plan, plan.roster, blind)
    assert "no share of victim" in str(caught.value)


# Rule 8: shares that are missing, changed or none; kappas that were not committed to


def missing(u2: Answers, plan: Plan, by: Cloud) -> None:
    del u2.sealed[A][V]


def repeated(u2: Answers, plan: Plan, by: Cloud) -> None:
    u2.sealed[A][V] = u2.sealed[B][V]


def flipped(u2: Answers, plan: Plan, by: Cloud) -> None:
    content = bytearray(u2.sealed[A][V])
    content[50] ^= 1
    u2.sealed[A][V] = bytes(content)


def resealed(u2: Answers, plan: Plan, by: Cloud, shares: bytes) -> None:
    assert by.attempt is not None
    ph = plan_hash(plan)
    key = share_key(by.attempt._secrets.sealing, enc_key_of(plan, V), ph, A, V)
    u2.sealed[A][V] = seal(key, ph, A, V, _Plain(shares))  # type: ignore[arg-type]


class _Plain:
    """Bytes in the place of shares: what a member sends that does not keep to the form."""

    def __init__(self, content: bytes) -> None:
        self.to_bytes = lambda: content


def too_large(u2: Answers, plan: Plan, by: Cloud) -> None:
    resealed(u2, plan, by, PRIME.to_bytes(SHARE_BYTES, "little") + bytes(SHARE_BYTES + 32))


def another_kappa(u2: Answers, plan: Plan, by: Cloud) -> None:
    assert by.attempt is not None
    ph, x = plan_hash(plan), x_coordinate(V, plan.roster)
    key = share_key(by.attempt._secrets.sealing, enc_key_of(plan, V), ph, A, V)
    true = unseal(key, ph, A, V, u2.sealed[A][V], x)
    resealed(u2, plan, by, true.to_bytes()[: 2 * SHARE_BYTES] + b"k" * 32)


def no_commitment(u2: Answers, plan: Plan, by: Cloud) -> None:
    answer = u2.answers[A]
    assert answer.commitments is not None
    changed = replace(answer, commitments=replace(answer.commitments, common="none"))
    signature = by.who.sign("shares", signed_content(changed)).hex()
    u2.answers[A] = replace(changed, signature=signature)


BREAKS = [missing, repeated, flipped, too_large, another_kappa, no_commitment]


def broken_shares(
    table: Table, victim: Cloud, break_it: Callable[[Answers, Plan, Cloud], None]
) -> tuple[Plan, Answers, list[Cloud]]:
    """Let one member's shares for the victim be wrong."""
    eve, broken, other = table.eve, table.cloud(A), table.cloud(B)
    plan = eve.plan(*(c.offer() for c in (broken, other, victim)))
    u2 = eve.answers(plan, broken, other, victim)
    break_it(u2, plan, broken)
    broken.round.answered(u2.answers[A])
    eve.collect(plan, u2, broken, other, victim)
    return plan, u2, [broken, other, victim]


@pytest.mark.parametrize("break_it", BREAKS)
def test_rule_8_refuses_before_any_upload_and_names_whose_shares_are_wrong(
    table: Table, break_it: Callable[[Answers, Plan, Cloud], None]
) -> None:
    victim = table.cloud(V)
    with refused(Rule.SEALED) as caught:
        broken_shares(table, victim, break_it)
    assert str(caught.value).startswith("aws: ")
    assert not victim.sent


@pytest.mark.parametrize("break_it", [missing, repeated, flipped, too_large])
def test_rule_8_without_it_the_round_fails_after_all_uploads_and_blames_who_was_wronged(
    table: Table, break_it: Callable[[Answers, Plan, Cloud], None]
) -> None:
    plan, u2, clouds = broken_shares(table, table.cloud(V, unsafe={Rule.SEALED}), break_it)
    unmasking = Unmasking(plan, u2.answers, plan.roster)
    for c in clouds[:2]:
        assert c.survived(plan.roster) is None
        revealed = c.reveal()
        unmasking.reveal(c.name, revealed.own, revealed.mask)
    clouds[2].survived(plan.roster)
    with refused(Rule.REVEAL) as caught:  # all uploads were sent by now
        clouds[2].reveal()
    unmasking.refuse(V, f"refused by rule 13: {caught.value}")
    assert unmasking.secrets() is None
    _, sentence = unmasking.complaint(())
    assert "members that revealed shares: 2, needed: 3; victim refused" in sentence


def test_rule_8_a_kappa_that_was_not_committed_to_spoils_the_sum_and_nobody_is_named(
    table: Table,
) -> None:
    victim = table.cloud(V, unsafe={Rule.SEALED})
    plan, u2, clouds = broken_shares(table, victim, another_kappa)
    table.eve.ask(plan, plan.roster, *clouds)
    commit, content = table.eve.commit(plan, u2, plan.roster)  # the public tags are right

    for c in clouds:
        assert c.attempt is not None
        with pytest.raises(BadCommitError) as caught:
            check_aggregate(
                table.eve.layout(plan),
                commit.side_values,
                commit.survivors,
                c.attempt.kappa,
                bytes_of(content),
            )
        assert not [w for w in plan.roster if w in str(caught.value)]


# Two plans, and two U2 lists: no rule is needed, since no mask cancels


def test_members_that_were_told_different_u2_lists_have_masks_that_do_not_cancel(
    table: Table,
) -> None:
    eve, clouds = table.eve, [table.cloud(w, unsafe={*Rule}) for w in (A, B, C, V)]
    plan = eve.plan(*(c.offer() for c in clouds))
    whole = eve.answers(plan, *clouds)
    part = whole.only(A, B, V)
    eve.collect(plan, whole, clouds[0], clouds[2])
    eve.collect(plan, part, clouds[1], clouds[3])
    eve.ask(plan, plan.roster, clouds[0], clouds[2])
    eve.ask(plan, (A, B, V), clouds[1], clouds[3])

    with pytest.raises(BadShareError):
        eve.put_together(plan, eve.mask, V)
    total = eve.sum_of(plan, part, (A, B, V))
    first, second, third = (planted(clouds[i], plan) for i in (0, 1, 3))
    assert noise(total, first + second + third)


def test_shares_for_one_plan_do_not_open_under_another(table: Table) -> None:
    eve, clouds = table.eve, [table.cloud(w) for w in (A, B, V)]
    offers = [c.offer() for c in clouds]
    one, other = eve.plan(*offers), eve.plan(*offers)
    u2 = eve.answers(one, *clouds[:2])
    mine = eve.answers(other, clouds[2])
    u2.answers |= mine.answers
    u2.sealed |= mine.sealed

    with refused(Rule.MEMBERS):
        eve.collect(one, u2, clouds[0])


def test_rule_8_refuses_shares_that_were_sealed_under_another_plan(table: Table) -> None:
    eve, victim = table.eve, table.cloud(V)
    lax, honest = table.cloud(A, unsafe={Rule.MEMBERS}), table.cloud(B)
    offers = [c.offer() for c in (lax, honest, victim)]
    one, other = eve.plan(*offers), eve.plan(*offers)
    u2, mine = eve.answers(one, lax, honest), eve.answers(other, victim)
    u2.answers |= mine.answers
    u2.sealed |= mine.sealed

    with refused(Rule.SEALED) as caught:
        eve.collect(one, u2, lax)
    assert "what victim sealed for aws does not open" in str(caught.value)
