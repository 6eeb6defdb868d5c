from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.documents import Algorithm, Codec, Numbers, Offer, Plan
from common.errors import NotAMemberError
from common.ids import WorkerId
from common.parties import Party
from common.secagg.transcript import signed_content
from common.thresholds import round_threshold
from tests.attacks.harness import A, B, C, Registry, Table, V
from tests.rig.rounds.masked_members import MASKED
from tests.rig.rounds.small_run import NUMBERS, TLS
from worker.rounds.trust import Trust, cohort_complaint, roster_complaint, share_complaint


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry.made(tmp_path_factory.mktemp("federation"))


@pytest.fixture
def plan(registry: Registry) -> Plan:
    table = Table(registry)
    return table.eve.plan(*(table.cloud(w).offer() for w in (A, B, C, V)))


def with_offers(plan: Plan, *offers: Offer) -> Plan:
    return replace(plan, offers=offers)


# What a run may not be (rule 1)


def test_a_run_as_strict_as_its_own_file_or_stricter_passes() -> None:
    assert Trust().complaint(MASKED, "masked") == ""
    stricter = replace(MASKED, min_cohort=5, colluding=1, max_share=0.5, max_staleness=1.0)
    assert Trust().complaint(stricter, "masked") == ""
    assert Trust(tier="tls").complaint(TLS, "tls") == ""


@pytest.mark.parametrize(
    ("algorithm", "tier", "sentence"),
    [
        (TLS, "tls", "tier is tls, this worker's own file (trust.tier) asks for masked"),
        (replace(MASKED, min_cohort=2), "masked", "min_cohort is 2"),
        (replace(MASKED, max_share=0.8), "masked", "max_share is 0.8"),
        (replace(MASKED, max_staleness=9.0), "masked", "max_staleness is 9.0"),
        (replace(MASKED, max_policy_factor=2.0), "masked", "max_policy_factor is 2.0"),
        (replace(MASKED, codec=Codec("float32", 32)), "masked", "codec.kind is float32"),
    ],
)
def test_a_run_that_is_weaker_than_its_own_file_is_named(
    algorithm: Algorithm, tier: str, sentence: str
) -> None:
    assert sentence in Trust().complaint(algorithm, tier)


def test_a_run_for_fewer_colluders_than_its_own_file_fears_is_named() -> None:
    one = replace(MASKED, colluding=1)
    assert "min_cohort is 3" in Trust(colluding=1).complaint(one, "masked")
    assert Trust(colluding=1).complaint(replace(one, min_cohort=4), "masked") == ""
    assert Trust(colluding=1, min_cohort=3).complaint(one, "masked") == ""  # asked for
    assert "colluding is 0" in Trust(colluding=1, min_cohort=3).complaint(MASKED, "masked")


# Who may be in a roster (rule 3)


def test_a_roster_of_admitted_members_passes(plan: Plan, registry: Registry) -> None:
    assert roster_complaint(plan, registry.pinned) == ""


def test_a_roster_with_an_offer_that_is_not_as_it_was_signed_is_named(
    plan: Plan, registry: Registry
) -> None:
    first, *others = plan.offers
    for changed, sentence in (
        (replace(first, speed=first.speed + 1), "the signature of the offer of aws is wrong"),
        (replace(first, keys=None), "the offer of aws is not signed"),
        (replace(first, run="other"), "the offer of aws is for run other"),
        (replace(first, worker=WorkerId("x")), "x offers with the certificate of aws"),
        (replace(first, signature="zz"), "the signature of the offer of aws is wrong"),
    ):
        assert roster_complaint(with_offers(plan, changed, *others), registry.pinned) == sentence


def test_a_certificate_that_is_none_is_a_complaint_and_no_crash(
    plan: Plan, registry: Registry
) -> None:
    first, *others = plan.offers
    assert first.keys is not None
    for certificate in ("", "!", "AAAA"):
        offer = replace(first, keys=replace(first.keys, certificate=certificate))
        assert roster_complaint(with_offers(plan, offer, *others), registry.pinned).startswith(
            "aws: "
        )


def test_whoever_is_not_admitted_is_named_with_the_reason(plan: Plan) -> None:
    def nobody(der: bytes) -> Party:
        raise NotAMemberError("not pinned")

    assert roster_complaint(plan, nobody) == "aws: not pinned"


@pytest.mark.parametrize("what", ["organisation", "certificate key"])
def test_two_members_that_are_one_party_are_named(
    plan: Plan, registry: Registry, what: str
) -> None:
    def one(der: bytes) -> Party:
        party = registry.pinned(der)
        if what == "organisation":
            return replace(party, organisation="eve")
        return replace(party, key_id="0")

    assert roster_complaint(plan, one) == f"azure and aws have one {what}"


def test_a_member_that_stands_twice_is_named(plan: Plan, registry: Registry) -> None:
    twice = with_offers(plan, plan.offers[0], *plan.offers)
    assert roster_complaint(twice, registry.pinned) != ""


@pytest.mark.parametrize("kind", ["sealing", "masking"])
def test_two_members_with_one_key_are_named(registry: Registry, kind: str) -> None:
    table = Table(registry)
    mine, other = table.cloud(A).offer(), table.cloud(B).offer()
    assert mine.keys is not None
    assert other.keys is not None
    keys = replace(other.keys, **{kind: getattr(mine.keys, kind)})
    unsigned = replace(other, keys=keys)
    signature = registry.of(B).sign("offer", signed_content(unsigned)).hex()
    plan = table.eve.plan(mine, replace(unsigned, signature=signature), table.cloud(C).offer())

    assert roster_complaint(plan, registry.pinned) == f"azure and aws have one {kind} key"


# Whether a plan's sizes are sound (rule 4)


@pytest.mark.parametrize("t", [1, 2, 4])
def test_a_threshold_that_is_not_the_formulas_is_named(plan: Plan, t: int) -> None:
    assert cohort_complaint(replace(plan, threshold=t), MASKED) == f"threshold is {t}, must be 3"


def test_a_cohort_of_fewer_than_m_is_named(plan: Plan) -> None:
    small = replace(with_offers(plan, *plan.offers[:2]), threshold=3)
    assert cohort_complaint(small, MASKED) == "2 members, at least 3 are needed"
    assert cohort_complaint(plan, MASKED) == ""


def test_a_threshold_that_two_lists_could_reach_is_named_even_if_the_run_asks_for_it(
    plan: Plan,
) -> None:
    lone = replace(MASKED, min_cohort=1)
    one = replace(with_offers(plan, plan.offers[0]), threshold=1)
    assert "lets two lists of survivors both gather enough" in cohort_complaint(one, lone)


# Whose weight drowns the others (rule 6)

LENIENT = replace(MASKED, max_share=0.99)


def test_a_member_that_would_be_most_of_a_sum_is_named_with_its_part() -> None:
    numbers = {A: NUMBERS, B: replace(NUMBERS, tokens=20), C: replace(NUMBERS, tokens=20)}
    assert share_complaint(numbers, numbers, LENIENT, 3, 0.75) == (
        "aws would be 0.980 of the sum, at most 0.75 is allowed"
    )
    assert share_complaint(numbers, numbers, LENIENT, 3, 0.99) == ""


def test_the_c_largest_of_the_others_do_not_count_for_they_may_collude() -> None:
    numbers = {w: replace(NUMBERS, tokens=t) for w, t in ((A, 60), (B, 60), (C, 10), (V, 10))}
    colluding = replace(LENIENT, colluding=1, min_cohort=4)
    assert share_complaint(numbers, numbers, LENIENT, 3, 0.72) == ""
    assert share_complaint(numbers, numbers, colluding, 4, 0.72) != ""


@given(
    tokens=st.lists(st.integers(1, 2**40), min_size=3, max_size=8),
    lost=st.integers(0, 5),
    colluding=st.integers(0, 1),
)
def test_in_a_run_as_strict_as_its_own_file_no_honest_cohort_is_ever_refused(
    tokens: list[int], lost: int, colluding: int
) -> None:
    algorithm = replace(MASKED, colluding=colluding, min_cohort=3 + colluding)
    names = [WorkerId(f"w{i}") for i in range(len(tokens))]
    numbers: dict[WorkerId, Numbers] = {
        w: replace(NUMBERS, tokens=n) for w, n in zip(names, tokens, strict=True)
    }
    t = round_threshold(len(names), algorithm)
    if t <= len(names):
        by_size = sorted(names, key=lambda w: numbers[w].tokens)
        survivors = by_size[min(lost, len(names) - t) :]
        assert share_complaint(numbers, names, algorithm, t, algorithm.max_share) == ""
        assert share_complaint(numbers, survivors, algorithm, t, algorithm.max_share) == ""


def test_a_plan_of_another_tier_than_the_run_s_is_refused_even_where_the_file_allows_it() -> None:
    # In a plan of tier tls any abort would free work whose masks may be taken off.
    trust = Trust(tier="tls")
    assert trust.complaint(MASKED, "masked") == ""
    assert "the run's is 'masked'" in trust.complaint(MASKED, "tls")
    assert "the run's is 'masked'" in trust.complaint(MASKED, "secret")
    assert "the run's is 'tls'" in trust.complaint(replace(MASKED, tier="tls"), "masked")
