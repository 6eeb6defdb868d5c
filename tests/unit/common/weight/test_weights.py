import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.documents import Algorithm, Numbers
from common.errors import BadNumbersError
from common.ids import WorkerId
from common.rate import lowest_rate
from common.thresholds import round_threshold
from common.weight.weights import influence, weights
from tests.rig.rounds.small_run import NUMBERS
from worker.rounds.trust import Trust, share_complaint

A, B, C, D = (WorkerId(x) for x in "abcd")

SCHEDULE = Algorithm().schedule


@st.composite
def numbers_of_one(draw: st.DrawFn) -> Numbers:
    steps = draw(st.integers(1, 1000))
    rate = draw(st.floats(lowest_rate(SCHEDULE), SCHEDULE.peak))
    return Numbers(
        tokens=draw(st.integers(1, 10**7)),
        lr_sum=steps * rate,
        age_256=draw(st.integers(0, 8 * 256)),
        staleness_65535=draw(st.integers(1, 65535)),
        steps=steps,
        samples=draw(st.integers(1, 10**5)),
    )


cohorts = st.lists(numbers_of_one(), min_size=4, max_size=4).map(
    lambda ns: dict(zip((A, B, C, D), ns, strict=True))
)


def test_a_cloud_with_far_more_data_gets_no_more_than_its_share() -> None:
    algorithm = Algorithm(max_share=0.75)
    numbers = dict.fromkeys((A, B, C), NUMBERS) | {D: replace(NUMBERS, tokens=10**9)}

    u = weights(numbers, algorithm, round_threshold(4, algorithm)).u

    # The two smallest of the others bound it: T = 3 * (v_a + v_b).
    assert u[D] == 65535
    assert u[A] == u[B] == u[C] == round(65535 / 6)


def test_one_member_alone_has_weight_one() -> None:
    w = weights({A: NUMBERS}, Algorithm(), 1)

    assert (w.u, w.v) == ({A: 65535}, {A: 65535})
    assert w.scale == NUMBERS.lr_sum


def test_a_stale_member_weighs_less_but_divides_as_much() -> None:
    w = weights({A: NUMBERS, B: replace(NUMBERS, staleness_65535=45000)}, Algorithm(), 2)

    assert w.u == {A: 65535, B: 45000}
    assert w.v == {A: 65535, B: 65535}


@given(cohorts)
def test_weights_are_in_range_and_do_not_depend_on_the_order(
    numbers: dict[WorkerId, Numbers],
) -> None:
    w = weights(numbers, Algorithm(), 3)

    assert w == weights(dict(reversed(numbers.items())), Algorithm(), 3)
    assert all(1 <= w.u[m] <= w.v[m] <= 65535 for m in numbers)
    assert max(w.v.values()) == 65535
    assert w.scale > 0


@given(cohorts, st.sampled_from([0.4, 0.6, 0.75]))
def test_no_member_has_more_than_max_share_of_any_surviving_cohort(
    numbers: dict[WorkerId, Numbers], max_share: float
) -> None:
    algorithm, ratio = Algorithm(max_share=max_share), max_share / (1 - max_share)
    w = weights(numbers, algorithm, 3)
    influence = {m: w.u[m] * numbers[m].lr_sum for m in numbers}
    slack = {m: 0.5 * numbers[m].lr_sum for m in numbers}  # U is rounded, and at least 1

    for m in numbers:
        others = sorted(influence[x] for x in numbers if x != m)[:2]
        rounding = ratio * 2 * max(slack.values()) + slack[m]
        assert influence[m] <= ratio * sum(others) + rounding + 1e-9 * influence[m]


def test_by_default_a_cloud_four_times_as_fast_is_capped_and_nobody_is_refused() -> None:
    algorithm, fast = Algorithm(), replace(NUMBERS, tokens=4 * NUMBERS.tokens, steps=80)
    numbers = {A: replace(fast, lr_sum=0.16), B: NUMBERS, C: NUMBERS}  # 0.667 of their tokens

    v = influence(numbers, algorithm, round_threshold(3, algorithm))

    assert algorithm.max_share == 0.6
    assert v[A] / sum(v.values()) == pytest.approx(0.6)
    assert v[B] == v[C] == NUMBERS.tokens  # nobody else loses anything
    assert share_complaint(numbers, numbers, algorithm, 3, Trust().max_share) == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tokens", 0),
        ("lr_sum", 0.0),
        ("lr_sum", -1.0),
        ("lr_sum", math.inf),
        ("lr_sum", math.nan),
        ("lr_sum", 5e-324),
        ("lr_sum", 1.001 * NUMBERS.steps * SCHEDULE.peak),
        ("lr_sum", 0.999 * NUMBERS.steps * lowest_rate(SCHEDULE)),
        ("age_256", -1),
        ("age_256", 8 * 256 + 1),
        ("staleness_65535", 0),
        ("staleness_65535", 65536),
        ("steps", 0),
        ("samples", 0),
        ("tokens", 2**60),
        ("size", 1),
        ("link_mbps", 100.0),
        ("link_mbps", math.nan),
    ],
)
def test_impossible_numbers_are_refused_by_worker_and_field(field: str, value: Any) -> None:
    broken = replace(NUMBERS, **{field: value})

    with pytest.raises(BadNumbersError, match=rf"b: {field} is"):
        weights({A: NUMBERS, B: broken}, Algorithm(), 1)


def test_too_few_members_are_refused() -> None:
    with pytest.raises(BadNumbersError, match="numbers of 1 members, at least 2"):
        weights({A: NUMBERS}, Algorithm(), 2)
