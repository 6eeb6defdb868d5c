"""Who is in a sum: rules 1 to 4, and the keys of 8."""

from dataclasses import replace

import numpy as np
import pytest

from common.documents import OfferKeys
from common.errors import BadKeyError
from common.ids import WorkerId
from common.rounds import Rule
from common.secagg.transcript import signed_content
from tests.attacks.harness import A, B, C, Certified, Cloud, Registry, Table, V
from tests.rig.rounds.masked_members import MASKED
from tests.rig.rounds.member import refused
from tests.rig.rounds.small_run import Run
from worker.rounds.round import Fate
from worker.rounds.trust import Trust


def sum_of_all(table: Table, *clouds: Cloud, **changes: object) -> np.ndarray:
    """Play a round as planned and return what the coordinator gets."""
    eve = table.eve
    plan = eve.plan(*(c.offer() for c in clouds), **changes)
    u2 = eve.answers(plan, *clouds)
    eve.collect(plan, u2, *clouds)
    eve.ask(plan, plan.roster, *clouds)
    return eve.sum_of(plan, u2, plan.roster)


def sent(cloud: Cloud) -> np.ndarray:
    (data,) = cloud.sent.values()
    return np.frombuffer(data, "<i2").astype(np.int64)


# Rule 1: a run that is weaker than this worker's own file

PAIRS = replace(MASKED, min_cohort=2)


def test_rule_1_a_colluder_subtracts_its_own_update_from_a_sum_of_two(registry: Registry) -> None:
    table = Table(registry, Run(PAIRS))
    victim, colluder = (
        table.cloud(V, unsafe={Rule.TERMS}),
        table.cloud(A, trust=Trust(min_cohort=2)),
    )

    assert np.array_equal(sum_of_all(table, victim, colluder) - sent(colluder), sent(victim))


def test_rule_1_refuses_sums_of_fewer_than_its_own_file_asks_for(registry: Registry) -> None:
    table = Table(registry, Run(PAIRS))
    victim, colluder = table.cloud(V), table.cloud(A, trust=Trust(min_cohort=2))

    with refused(Rule.TERMS):
        sum_of_all(table, victim, colluder)
    assert not victim.sent


def in_the_open(table: Table, victim: Cloud) -> Fate | None:
    """Call a masked round's plan one of tls, where any abort frees work; then abort it."""
    eve, others = table.eve, [table.cloud(w, unsafe={Rule.TERMS}) for w in (A, B)]
    plan = eve.plan(victim.offer(), *(c.offer() for c in others), tier="tls")
    u2 = eve.answers(plan, victim, *others)
    victim.exposed(plan, u2.answers, u2.sealed_for(V))
    return victim.recorded(eve.aborted(plan, {}))


def test_rule_1_a_plan_of_a_weaker_tier_would_free_work_that_is_exposed(table: Table) -> None:
    assert in_the_open(table, table.cloud(V, unsafe={Rule.TERMS})) is Fate.FREE


def test_rule_1_refuses_a_plan_of_a_weaker_tier(table: Table) -> None:
    with refused(Rule.TERMS):
        in_the_open(table, table.cloud(V))


# Rule 2: an offer is used once, for its mask key may be known after its first round


def replayed_offer(table: Table, victim: Cloud) -> np.ndarray:
    """Learn the victim's mask key in one round, and plan another with the same offer."""
    eve, others = table.eve, [table.cloud(w) for w in (A, B, C)]
    offer = victim.offer()
    first = eve.plan(offer, *(c.offer() for c in others))
    u2 = eve.answers(first, victim, *others)
    eve.collect(first, u2, *others)  # the victim is told nothing: it is lost
    eve.ask(first, (A, B, C), *others)
    mask_key = eve.put_together(first, eve.mask, V)
    assert victim.recorded(eve.aborted(first, {})) is Fate.FREE  # it had sent no byte
    for c in others:
        assert c.recorded(eve.aborted(first, {})) is Fate.SPENT

    second = eve.plan(offer, *(c.offer() for c in others))
    u2 = eve.answers(second, victim, *others)
    eve.collect(second, u2, victim, *others)
    eve.ask(second, second.roster, victim, *others)
    own = eve.put_together(second, eve.own, V)
    return eve.value_of(second, u2, V, own, mask_key)


def test_rule_2_an_offer_used_twice_is_laid_open_by_what_was_revealed_of_it(table: Table) -> None:
    victim = table.cloud(V, unsafe={Rule.OFFER})

    assert np.array_equal(replayed_offer(table, victim), sent(victim))


def test_rule_2_refuses_an_offer_that_a_plan_has_used(table: Table) -> None:
    victim = table.cloud(V)
    with refused(Rule.OFFER):
        replayed_offer(table, victim)
    assert not victim.sent


# Rule 3: members that a coordinator with the CA's key invents


def test_rule_3_two_invented_members_subtract_theirs_from_a_sum_of_three(
    table: Table, registry: Registry
) -> None:
    victim = table.cloud(V, unsafe={Rule.ROSTER})
    eves = [table.seat(registry.invent(w, w), unsafe={Rule.ROSTER}) for w in ("x", "y")]

    total = sum_of_all(table, victim, *eves)

    assert np.array_equal(total - sent(eves[0]) - sent(eves[1]), sent(victim))


def test_rule_3_by_the_ca_alone_whoever_holds_its_key_gets_in(
    table: Table, registry: Registry
) -> None:
    victim = table.cloud(V, admits=registry.by_ca)
    eves = [table.seat(registry.invent(w, w), admits=registry.by_ca) for w in ("x", "y")]

    total = sum_of_all(table, victim, *eves)

    assert np.array_equal(total - sent(eves[0]) - sent(eves[1]), sent(victim))


INVENTED, NAMESAKES, BORROWED, HALF = STRANGERS = (
    "invented",
    "in the members' names",
    "with a member's certificate",
    "with a member's certificate and another key",
)


def strangers(registry: Registry) -> dict[str, tuple[Certified, Certified]]:
    real = registry.of(A), registry.of(B)
    return {
        INVENTED: (registry.invent("x", "x"), registry.invent("y", "y")),
        NAMESAKES: (registry.invent(A, "aws-inc"), registry.invent(B, "azure-inc")),
        BORROWED: (replace(real[0], name=WorkerId("x")), replace(real[1], name=WorkerId("y"))),
        HALF: (
            replace(real[0], key=registry.invent(A, "aws-inc").key),
            real[1],
        ),
    }


@pytest.mark.parametrize("kind", STRANGERS)
def test_rule_3_refuses_whoever_does_not_hold_a_pinned_key(
    table: Table, registry: Registry, kind: str
) -> None:
    victim = table.cloud(V)
    eves = [table.seat(who, unsafe=set(Rule)) for who in strangers(registry)[kind]]

    with refused(Rule.ROSTER):
        sum_of_all(table, victim, *eves)
    assert not victim.sent


def test_rule_3_refuses_two_members_of_one_organisation(table: Table, registry: Registry) -> None:
    victim = table.cloud(V, admits=registry.by_ca)
    eves = [table.seat(registry.invent(w, "eve"), unsafe=set(Rule)) for w in ("x", "y")]

    with refused(Rule.ROSTER) as caught:
        sum_of_all(table, victim, *eves)
    assert "have one organisation" in str(caught.value)


# Rule 4: a threshold that two survivor lists can both reach


def two_halves(table: Table, *clouds: Cloud) -> np.ndarray:
    """Have two members reveal one kind of the victim's shares, and two the other kind."""
    eve, (a, b, c, victim) = table.eve, clouds
    plan = eve.plan(*(cloud.offer() for cloud in clouds), threshold=2)
    u2 = eve.answers(plan, *clouds)
    eve.collect(plan, u2, *clouds)
    eve.ask(plan, (A, B), a, b)
    eve.ask(plan, (C, V), c, victim)
    own, mask = (eve.put_together(plan, known, V) for known in (eve.own, eve.mask))
    return eve.value_of(plan, u2, V, own, mask)


def test_rule_4_a_threshold_of_two_in_four_lays_a_member_open(table: Table) -> None:
    clouds = [table.cloud(w, unsafe={Rule.COHORT}) for w in (A, B, C, V)]

    assert np.array_equal(two_halves(table, *clouds), sent(clouds[-1]))


def test_rule_4_refuses_a_threshold_that_is_not_the_formulas(table: Table) -> None:
    victim = table.cloud(V)
    with refused(Rule.COHORT):
        two_halves(table, *(table.cloud(w, unsafe={Rule.COHORT}) for w in (A, B, C)), victim)
    assert not victim.sent


def test_rule_4_a_plan_of_two_lets_each_compute_the_others_update(table: Table) -> None:
    clouds = [table.cloud(w, unsafe={Rule.COHORT}) for w in (A, V)]

    total = sum_of_all(table, *clouds, threshold=2)

    assert np.array_equal(total - sent(clouds[0]), sent(clouds[1]))


def test_rule_4_refuses_fewer_members_than_the_run_s_fewest(table: Table) -> None:
    victim = table.cloud(V)
    with refused(Rule.COHORT):
        sum_of_all(table, table.cloud(A, unsafe={Rule.COHORT}), victim, threshold=2)
    assert not victim.sent


# Rule 8: keys that give everybody the same secret

SMALL_ORDER = bytes(32).hex()
NO_KEY = "zz"


def with_key(cloud: Cloud, kind: str, key: str) -> None:
    """Let a cloud offer with a key that is none."""
    offer = cloud.offer()
    assert offer.keys is not None
    keys: OfferKeys = replace(offer.keys, **{kind: key})
    unsigned = replace(offer, keys=keys)
    signature = cloud.who.sign("offer", signed_content(unsigned)).hex()
    cloud.round.offer = replace(unsigned, signature=signature)


@pytest.mark.parametrize("key", [SMALL_ORDER, NO_KEY, "ff" * 32])
@pytest.mark.parametrize("kind", ["sealing", "masking"])
def test_rule_8_refuses_a_key_that_gives_no_secret_and_names_whose(
    table: Table, kind: str, key: str
) -> None:
    eve, broken, victim = table.eve, table.cloud(A), table.cloud(V)
    with_key(broken, kind, key)
    assert broken.round.offer is not None
    plan = eve.plan(broken.round.offer, table.cloud(B).offer(), victim.offer())

    with refused(Rule.SEALED) as caught:
        victim.planned(plan)
    assert str(caught.value).startswith("aws: ")


@pytest.mark.parametrize("kind", ["sealing", "masking"])
def test_rule_8_without_it_a_round_ends_in_an_error_that_is_no_refusal(
    table: Table, kind: str
) -> None:
    eve, broken = table.eve, table.cloud(A)
    clouds = [table.cloud(w, unsafe={Rule.SEALED}) for w in (B, V)]
    with_key(broken, kind, SMALL_ORDER)
    assert broken.round.offer is not None
    plan = eve.plan(broken.round.offer, *(c.offer() for c in clouds))

    def play() -> None:
        u2 = eve.answers(plan, broken, *clouds)
        eve.collect(plan, u2, *clouds)

    with pytest.raises(BadKeyError):
        play()
