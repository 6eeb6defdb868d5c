from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.documents import Offer
from common.ids import WorkerId
from coordinator.offers import NUM_INTERVALS, Offers
from tests.rig.rounds.masked_members import MASKED, admits
from tests.rig.rounds.run_script import begun
from tests.rig.rounds.small_run import TLS

A, B, C, D = (WorkerId(x) for x in ("aws", "azure", "gcp", "onprem"))
DEFAULT_GRACE_S = 2.0


def empty(**algorithm: Any) -> Offers:
    genesis = replace(begun().genesis, algorithm=replace(TLS, **algorithm))
    return Offers(genesis, DEFAULT_GRACE_S, admits)


def offer(worker: WorkerId, version: int = 0, nonce: str = "1") -> Offer:
    return replace(begun().offer(worker, 0, {}), version=version, nonce=nonce)


def test_sync_closes_when_every_live_member_has_offered_and_not_before() -> None:
    offers = empty(policy="sync")
    offers.add(offer(A), 0.0)
    offers.add(offer(B), 0.0)

    assert not offers.is_due([A, B, C], 1000.0)
    assert offers.is_due([A, B], 1000.0)


@pytest.mark.parametrize("policy", ["sync", "async"])
def test_no_policy_closes_below_min_cohort_or_without_anybody(policy: str) -> None:
    offers = empty(policy=policy, min_cohort=2)
    assert not offers.is_due([], 0.0)
    offers.add(offer(A), 0.0)

    assert not offers.is_due([A], 1000.0)


@pytest.mark.parametrize(
    ("quorum", "num_live", "needed"),
    [(0.75, 4, 3), (0.75, 5, 4), (0.75, 1, 1), (0.07, 100, 7), (1.0, 3, 3), (0.01, 3, 1)],
)
def test_a_quorum_is_rounded_up(quorum: float, num_live: int, needed: int) -> None:
    assert empty(quorum=quorum).quorum(num_live) == needed


def test_a_quorum_waits_for_its_grace_time_and_everybody_for_nothing() -> None:
    offers = empty()
    for w in (A, B, C):
        offers.add(offer(w), 0.0)

    assert not offers.is_due([A, B, C, D], 10.0)  # the quorum is noticed here
    assert not offers.is_due([A, B, C, D], 11.9)
    assert offers.is_due([A, B, C, D], 12.0)
    offers.add(offer(D), 10.5)
    assert offers.is_due([A, B, C, D], 10.5)


def test_a_quorum_that_is_lost_begins_its_grace_time_anew() -> None:
    offers = empty()
    for w in (A, B, C):
        offers.add(offer(w), 0.0)
    assert not offers.is_due([A, B, C, D], 10.0)
    offers.drop(A)
    assert not offers.is_due([A, B, C, D], 11.0)
    offers.add(offer(A), 11.5)

    assert not offers.is_due([A, B, C, D], 12.0)
    assert offers.is_due([A, B, C, D], 14.0)


def test_grace_is_half_the_median_of_the_last_eight_intervals() -> None:
    offers, now_s = empty(), 0.0
    offers.take(now_s)
    assert offers.grace_s() == DEFAULT_GRACE_S
    for interval_s in [1000.0, *range(1, NUM_INTERVALS + 1)]:
        now_s += interval_s
        offers.take(now_s)

    assert offers.grace_s() == 4.5 / 2


def test_a_pause_is_no_interval() -> None:
    offers = empty()
    offers.take(0.0)
    offers.skip_interval()
    offers.take(1000.0)
    offers.take(1004.0)

    assert offers.grace_s() == 2.0


def test_the_oldest_go_first_and_a_replaced_offer_keeps_its_place() -> None:
    offers = empty(max_cohort=2)
    for at_s, w in enumerate((D, C, B, A)):
        offers.add(offer(w, nonce="1"), float(at_s))
    offers.add(offer(D, nonce="2"), 10.0)

    assert [(o.worker, o.nonce) for o in offers.take(11.0)] == [(C, "1"), (D, "2")]
    assert offers.since_s() == 2.0
    assert [o.worker for o in offers.take(12.0)] == [A, B]


def test_offers_too_many_versions_behind_are_dropped() -> None:
    offers = empty(max_staleness=2.0)
    offers.add(offer(B, version=3), 0.0)
    offers.add(offer(A, version=2), 1.0)

    assert offers.drop_stale(4) == ()
    assert offers.drop_stale(5) == (A,)
    assert A not in offers
    assert B in offers


@given(
    st.lists(st.tuples(st.sampled_from([A, B, C, D]), st.sampled_from(["add", "drop", "take"]))),
    st.integers(1, 4),
)
def test_a_cohort_is_small_sorted_and_takes_nobody_before_an_older_offer(
    steps: list[tuple[WorkerId, str]], max_cohort: int
) -> None:
    offers, waiting = empty(max_cohort=max_cohort), list[WorkerId]()
    for at_s, (worker, step) in enumerate(steps):
        match step:
            case "add":
                offers.add(offer(worker), float(at_s))
                waiting += [worker] if worker not in waiting else []
            case "drop":
                assert offers.drop(worker) == (worker in waiting)
                waiting = [w for w in waiting if w != worker]
            case "take":
                oldest, waiting = waiting[:max_cohort], waiting[max_cohort:]
                assert [o.worker for o in offers.take(float(at_s))] == sorted(oldest)
        assert len(offers) == len(waiting)


def masked(**algorithm: Any) -> Offers:
    genesis = replace(begun().genesis, algorithm=replace(MASKED, min_cohort=2, **algorithm))
    return Offers(genesis, DEFAULT_GRACE_S, admits)


def test_no_masked_cohort_has_two_of_one_organisation_and_the_older_goes_first() -> None:
    offers = masked(policy="async", quorum=1.0)
    for at_s, (worker, organisation) in enumerate([(B, "acme"), (A, "acme"), (C, "initech")]):
        offers.belongs(worker, organisation)
        offers.add(offer(worker), float(at_s))

    assert offers.is_due([A, B, C], 3.0)  # both organisations have offered
    assert [o.worker for o in offers.take(3.0)] == [B, C]
    assert not offers.is_due([A, B, C], 4.0)
    offers.add(offer(B, nonce="2"), 5.0)
    offers.add(offer(C, nonce="2"), 6.0)
    assert [o.worker for o in offers.take(6.0)] == [A, C]


@pytest.mark.parametrize("policy", ["sync", "async"])
def test_a_masked_cohort_waits_for_organisations_and_not_for_workers(policy: str) -> None:
    offers = masked(policy=policy)
    for worker in (A, B):
        offers.belongs(worker, "acme")
        offers.add(offer(worker), 0.0)
    assert not offers.is_due([A, B], 1000.0)
    offers.add(offer(C), 0.0)
    assert offers.is_due([A, B, C], 1000.0)


def test_a_worker_that_is_left_out_makes_room_for_another_of_its_organisation() -> None:
    offers = masked()
    for worker in (A, B):
        offers.belongs(worker, "acme")
    for worker in (A, B, C):
        offers.add(offer(worker), 0.0)
    assert [o.worker for o in offers.take(1.0, left_out=(A,))] == [B, C]


def test_in_the_tls_tier_organisations_are_free() -> None:
    offers = empty(policy="sync")
    for worker in (A, B):
        offers.belongs(worker, "acme")
        offers.add(offer(worker), 0.0)
    assert offers.quorum(offers.apart([A, B])) == 2
    assert [o.worker for o in offers.take(1.0)] == [A, B]


@given(
    st.lists(st.sampled_from([A, B, C, D]), unique=True),
    st.dictionaries(st.sampled_from([A, B, C, D]), st.sampled_from(["", "acme", "initech"])),
    st.integers(1, 4),
)
def test_a_masked_cohort_is_of_different_organisations_and_passes_none_over(
    waiting: list[WorkerId], organisations: dict[WorkerId, str], max_cohort: int
) -> None:
    offers = masked(max_cohort=max_cohort)
    for worker, organisation in organisations.items():
        offers.belongs(worker, organisation)
    for at_s, worker in enumerate(waiting):
        offers.add(offer(worker), float(at_s))
    of = {w: organisations.get(w) or w for w in waiting}

    taken = [o.worker for o in offers.take(10.0)]
    assert len({of[w] for w in taken}) == len(taken)
    assert len(taken) == min(max_cohort, len(set(of.values())))
    for left in (w for w in waiting if w not in taken):
        older = waiting[: waiting.index(left)]
        assert any(of[w] == of[left] for w in older if w in taken) or len(taken) == max_cohort
