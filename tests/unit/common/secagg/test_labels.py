from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.secagg.labels import (
    PlanHash,
    Purpose,
    context,
    digest,
    fields,
    label,
    name_list,
    plan_hash,
)

PH = plan_hash(b"plan")
NUMBERS = {"aws": b"1", "gcp": b"2"}

parts = st.lists(st.binary(max_size=6), max_size=4)


def unframed(framing: bytes) -> list[bytes]:
    found = []
    while framing:
        length, framing = int.from_bytes(framing[:4]), framing[4:]
        found.append(framing[:length])
        framing = framing[length:]
    return found


@given(parts)
def test_fields_can_be_read_back_so_no_two_lists_give_the_same_bytes(parts: list[bytes]) -> None:
    assert unframed(fields(*parts)) == parts


def test_a_byte_that_moves_between_fields_changes_the_digest() -> None:
    assert digest("context", b"ab", b"c") != digest("context", b"a", b"bc")


def test_one_content_has_another_digest_for_each_purpose() -> None:
    assert digest("commit-self", b"x") != digest("commit-kappa", b"x")


def test_an_unknown_purpose_has_no_label() -> None:
    with pytest.raises(ValueError, match="'shere' is not known"):
        label(cast("Purpose", "shere"))


def test_the_context_is_the_same_in_whichever_order_members_come() -> None:
    assert context(PH, ["aws", "gcp"], NUMBERS) == context(
        PH, ["gcp", "aws"], dict(reversed(NUMBERS.items()))
    )


@pytest.mark.parametrize(
    ("told", "numbers"),
    [
        (plan_hash(b"another plan"), NUMBERS),
        (PH, {"aws": b"1"}),
        (PH, {"aws": b"1", "gcp": b"3"}),
        (PH, {"aws": b"2", "gcp": b"1"}),
        (PH, {"aws": b"1", "gcq": b"2"}),
        (PH, {"aws": b"12", "gcp": b""}),
    ],
)
def test_members_that_were_told_different_things_have_different_contexts(
    told: PlanHash, numbers: dict[str, bytes]
) -> None:
    assert context(told, numbers, numbers) != context(PH, NUMBERS, NUMBERS)


def test_numbers_must_be_those_of_the_members() -> None:
    with pytest.raises(ValueError, match="numbers of aws, gcp, but U2 is aws"):
        context(PH, ["aws"], NUMBERS)


def test_a_name_cannot_stand_twice() -> None:
    with pytest.raises(ValueError, match="repeats"):
        name_list(["aws", "gcp", "aws"])
