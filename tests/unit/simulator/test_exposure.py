"""What can be computed of a round, against linear algebra on its masks."""

from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.ids import WorkerId
from simulator.exposure import Exposure, Group

A, B, C, D = (WorkerId(w) for w in "abcd")
ALL = frozenset({A, B, C, D})


def seen(uploaded: str = "abcd", own: str = "", mask: str = "", u2: str = "abcd") -> Exposure:
    """Return a round of threshold 3 of which these selves and mask keys are known."""
    e = Exposure(3, frozenset(map(WorkerId, u2)), set(ALL), set(map(WorkerId, uploaded)))
    e.own = {WorkerId(w): {A, B, C} for w in own}
    e.mask = {WorkerId(w): {B, C, D} for w in mask}
    return e


def sums(e: Exposure, colluders: str = "") -> set[str]:
    return {"".join(sorted(group)) for group in e.sums(frozenset(map(WorkerId, colluders)))}


@pytest.mark.parametrize(
    ("e", "found"),
    [
        (seen(), set()),
        (seen(own="abcd"), {"abcd"}),
        (seen(own="abc"), set()),  # d's own mask hides what it adds to the pairs
        (seen(own="abcd", uploaded="abc"), set()),  # the pairs with d stay on
        (seen(own="abc", mask="d"), {"abc"}),
        (seen(own="abc", mask="d", uploaded="abc"), {"abc"}),
        (seen(own="abcd", mask="d"), {"abc", "d"}),
        (seen(own="d", mask="d"), {"d"}),
        (seen(mask="abcd"), set()),
        (seen(own="abc", u2="abc"), {"abc"}),
    ],
)
def test_what_shares_lay_open(e: Exposure, found: set[str]) -> None:
    assert sums(e) == found


def test_fewer_shares_than_the_threshold_tell_nothing() -> None:
    e = seen(own="abcd")
    e.own[D] = {A, B}
    assert sums(e) == set()


def test_a_colluder_adds_its_shares_and_its_own_part() -> None:
    e = seen(own="abcd")
    e.own = {w: {B, C} for w in ALL}
    assert sums(e, "a") == {"bcd"}
    assert sums(e, "b") == set()  # it had revealed its share


workers = st.sets(st.sampled_from(sorted(ALL)))


@given(
    workers.map(frozenset),
    workers,
    st.dictionaries(st.sampled_from(sorted(ALL)), workers),
    st.dictionaries(st.sampled_from(sorted(ALL)), workers),
    st.sampled_from([frozenset[WorkerId](), frozenset({A}), frozenset({D})]),
)
def test_the_sums_are_all_that_any_combination_of_uploads_tells(
    u2: Group,
    uploaded: set[WorkerId],
    own: dict[WorkerId, set[WorkerId]],
    mask: dict[WorkerId, set[WorkerId]],
    colluders: Group,
) -> None:
    e = Exposure(2, u2, set(u2), uploaded & u2, own, mask)
    masks = unknown_masks(e, colluders)
    honest = sorted(e.uploaded - colluders)
    rows = np.array([[row.get(i, 0) for i in honest] for row in masks] or [[0] * len(honest)])
    groups = list(e.sums(colluders))
    rank = np.linalg.matrix_rank(rows) if honest else 0
    assert len(groups) == len(honest) - rank
    for group in groups:
        assert group <= set(honest)
        assert not (rows @ [i in group for i in honest]).any()
    assert sum(map(len, groups)) == len(frozenset().union(*groups))


def unknown_masks(e: Exposure, colluders: Group) -> Iterable[dict[WorkerId, int]]:
    """Yield each unknown stream, as what it adds to each upload."""

    def known(shares: dict[WorkerId, set[WorkerId]], of: WorkerId) -> bool:
        return of in colluders or len(shares.get(of, set()) | colluders) >= e.threshold

    for i in e.u2:
        if not known(e.own, i):
            yield {i: 1}
    for i, j in combinations(sorted(e.u2), 2):
        if not known(e.mask, i) and not known(e.mask, j):
            yield {i: 1, j: -1}
