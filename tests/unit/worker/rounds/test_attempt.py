from dataclasses import replace

import pytest

from common.documents import Plan
from common.rounds import Rule
from common.secagg.signatures import verify
from common.secagg.transcript import (
    abandon_content,
    identity_of,
    is_signed,
    list_content,
    plan_hash,
    signed_content,
)
from tests.attacks.harness import A, Answers, B, C, Cloud, Registry, Table, V
from tests.rig.rounds.member import refused
from tests.rig.rounds.small_run import NUMBERS
from worker.rounds.attempt import MaskedAttempt


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry.made(tmp_path_factory.mktemp("federation"))


@pytest.fixture
def table(registry: Registry) -> Table:
    return Table(registry)


@pytest.fixture
def clouds(table: Table) -> list[Cloud]:
    return [table.cloud(w) for w in (A, B, C, V)]


def planned(table: Table, clouds: list[Cloud]) -> tuple[Plan, Answers]:
    plan = table.eve.plan(*(c.offer() for c in clouds))
    return plan, table.eve.answers(plan, *clouds)


def attempt_of(cloud: Cloud) -> MaskedAttempt:
    assert cloud.attempt is not None
    return cloud.attempt


def test_an_offer_is_signed_over_fresh_keys(clouds: list[Cloud]) -> None:
    first, second = clouds[0].offer(), clouds[0].offer()
    assert first.keys is not None
    assert second.keys is not None
    assert len({first.keys.sealing, first.keys.masking, second.keys.sealing}) == 3
    key = clouds[0].who.key.public_key()
    assert first.signature is not None
    verify(key, "offer", signed_content(first), bytes.fromhex(first.signature))


def test_keys_serve_one_plan_only(table: Table, clouds: list[Cloud]) -> None:
    plan, _ = planned(table, clouds)
    with pytest.raises(AssertionError, match="one plan only"):
        clouds[0].tier.begin(plan)


def test_an_answer_commits_to_what_is_sealed_for_each_other_member(
    table: Table, clouds: list[Cloud]
) -> None:
    plan, u2 = planned(table, clouds)
    answer = u2.answers[A]
    assert u2.sealed[A].keys() == {B, C, V}
    assert answer.plan == plan_hash(plan).hex()
    assert answer.commitments is not None
    assert answer.commitments.own != answer.commitments.common
    assert is_signed(identity_of(plan, A), "shares", signed_content(answer), answer.signature)


def test_kappa_is_the_same_for_all_members_of_an_attempt(table: Table, clouds: list[Cloud]) -> None:
    plan, u2 = planned(table, clouds)
    table.eve.collect(plan, u2, *clouds)
    first = {attempt_of(c).kappa for c in clouds}
    for c in clouds:
        c.recorded(table.eve.aborted(plan, {}))
    plan, u2 = planned(table, clouds)
    table.eve.collect(plan, u2, *clouds)
    second = {attempt_of(c).kappa for c in clouds}

    assert (len(first), len(second), len(first | second)) == (1, 1, 2)
    assert {len(kappa) for kappa in first} == {32}


def test_where_all_survive_nothing_is_signed_and_only_own_masks_are_revealed(
    table: Table, clouds: list[Cloud]
) -> None:
    plan, u2 = planned(table, clouds)
    table.eve.collect(plan, u2, *clouds)
    assert attempt_of(clouds[0]).survived(plan.roster) is None
    revealed = attempt_of(clouds[0]).reveal({})
    assert (set(revealed.own), set(revealed.mask)) == (set(plan.roster), set())


def test_of_each_member_one_kind_of_share_is_revealed_and_never_the_other(
    table: Table, clouds: list[Cloud]
) -> None:
    plan, u2 = planned(table, clouds)
    table.eve.collect(plan, u2, *clouds)
    signed = {c.name: s for c in clouds[:3] if (s := c.survived((A, B, C))) is not None}
    for worker, signature in signed.items():
        content = list_content(plan, plan.roster, (A, B, C))
        assert is_signed(identity_of(plan, worker), "list", content, signature.hex())
    revealed = attempt_of(clouds[0]).reveal(signed)
    assert (set(revealed.own), set(revealed.mask)) == ({A, B, C}, {V})


def test_what_is_asked_again_is_answered_with_the_same_bytes(
    table: Table, clouds: list[Cloud]
) -> None:
    plan, u2 = planned(table, clouds)
    attempt = attempt_of(clouds[0])
    assert attempt.answer(replace(NUMBERS, steps=1)) == (u2.answers[A], u2.sealed[A])
    table.eve.collect(plan, u2, *clouds)
    signed = {c.name: s for c in clouds[:3] if (s := c.survived((A, B, C))) is not None}
    assert attempt.survived((A, B, C)) == signed[A]
    assert attempt.reveal(signed) == attempt.reveal(signed)


def test_nothing_is_revealed_before_survivors_were_named(table: Table, clouds: list[Cloud]) -> None:
    plan, u2 = planned(table, clouds)
    table.eve.collect(plan, u2, *clouds)
    with refused(Rule.REVEAL):
        attempt_of(clouds[0]).reveal({})


def test_an_abandon_is_signed_and_kept(table: Table, clouds: list[Cloud]) -> None:
    plan, u2 = planned(table, clouds)
    table.eve.collect(plan, u2, *clouds)
    signature = attempt_of(clouds[0]).abandon()
    key = identity_of(plan, A)
    assert is_signed(key, "abandon", abandon_content(plan), signature.hex())
    assert signature == clouds[0].tier.abandon(plan)
    with refused(Rule.REVEAL):
        attempt_of(clouds[0]).survived(plan.roster)


def test_revealed_shares_are_not_printed(table: Table, clouds: list[Cloud]) -> None:
    plan, u2 = planned(table, clouds)
    table.eve.collect(plan, u2, *clouds)
    attempt_of(clouds[0]).survived(plan.roster)
    assert repr(attempt_of(clouds[0]).reveal({})) == "RevealedShares()"
