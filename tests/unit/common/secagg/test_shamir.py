"""Shamir 1979: t points fix a polynomial of degree t - 1; fewer say nothing of its value at 0."""

import hashlib
from collections.abc import Callable, Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadShareError, NotAMemberError
from common.secagg.shamir import PRIME, Share, combine, split, x_coordinate

secrets32 = st.binary(min_size=32, max_size=32)
sizes = st.integers(1, 9).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n)))


def source(seed: int) -> Callable[[int], bytes]:
    """Return a reproducible random source."""
    num_drawn = 0

    def random(num: int) -> bytes:
        nonlocal num_drawn
        num_drawn += 1
        return hashlib.shake_256(f"{seed} {num_drawn}".encode()).digest(num)

    return random


def at(points: Sequence[tuple[int, int]], x: int) -> int:
    """Return the value at x of the polynomial through all points, after Lagrange."""
    total = 0
    for i, (xi, yi) in enumerate(points):
        term = yi
        for j, (xj, _) in enumerate(points):
            if i != j:
                term = term * (x - xj) * pow(xi - xj, -1, PRIME) % PRIME
        total += term
    return total % PRIME


@given(secrets32, sizes, st.integers(0, 2**32))
def test_any_t_of_n_shares_or_more_give_the_secret(
    secret: bytes, size: tuple[int, int], seed: int
) -> None:
    t, n = size
    shares = split(secret, t, range(1, n + 1), source(seed))
    for num in range(t, n + 1):
        for some in combinations(shares, num):
            assert combine(some[::-1], t) == secret


@given(secrets32, secrets32, st.integers(2, 9), st.integers(0, 2**32))
def test_fewer_shares_fit_every_other_secret_just_as_well(
    secret: bytes, other: bytes, t: int, seed: int
) -> None:
    known = split(secret, t, range(1, t + 1), source(seed))[: t - 1]
    points = [(0, int.from_bytes(other, "little")), *((s.x, s.y) for s in known)]
    missing = Share(t, at(points, t))  # exactly one value of the missing share for each secret

    assert combine([*known, missing], t) == other


def test_fewer_shares_of_one_secret_are_spread_like_those_of_another() -> None:
    """The lowest three bits of a share, 4,000 draws for either secret: chi squared of 7 degrees."""
    for secret in (bytes(32), b"\xff" * 32):
        counts = [0] * 8
        for seed in range(4000):
            counts[split(secret, 2, [1, 2], source(seed))[0].y % 8] += 1
        # 0.1 % of uniform samples exceed it
        assert sum((c - 500) ** 2 / 500 for c in counts) < 24.3


@given(secrets32, sizes, st.integers(0, 2**32), st.data())
def test_a_wrong_share_among_more_than_needed_is_noticed(
    secret: bytes, size: tuple[int, int], seed: int, data: st.DataObject
) -> None:
    t, n = size
    shares = list(split(secret, t, range(1, n + 2), source(seed)))
    wrong = data.draw(st.integers(0, n))
    shift = data.draw(st.integers(1, PRIME - 1))
    shares[wrong] = Share(shares[wrong].x, (shares[wrong].y + shift) % PRIME)

    with pytest.raises(BadShareError, match="do not lie on one polynomial"):
        combine(shares, t)


def test_draws_that_are_not_below_the_prime_are_drawn_again() -> None:
    high = (2**257 - 1).to_bytes(33, "little")
    lowest_refused = PRIME.to_bytes(33, "little")
    good = (PRIME - 1).to_bytes(33, "little")
    drawn = iter([high, lowest_refused, good])

    shares = split(bytes(32), 2, [1, 2], lambda _: next(drawn))
    assert [s.y for s in shares] == [PRIME - 1, PRIME - 2]
    assert next(drawn, None) is None


def test_too_few_shares_or_one_twice_are_refused() -> None:
    shares = split(b"7" * 32, 3, range(1, 6), source(0))
    with pytest.raises(BadShareError, match="2 shares, 3 are needed"):
        combine(shares[:2], 3)
    with pytest.raises(BadShareError, match="two shares of one member"):
        combine([*shares[:3], shares[0]], 3)


def test_shares_whose_secret_would_have_257_bits_are_refused() -> None:
    with pytest.raises(BadShareError, match="no 32 bytes"):
        combine([Share(1, 2**256)], 1)
    assert combine([Share(1, 2**256 - 1)], 1) == b"\xff" * 32


def test_a_share_is_33_bytes_below_the_prime() -> None:
    largest = Share(1, PRIME - 1)
    assert Share.from_bytes(1, largest.to_bytes()) == largest
    with pytest.raises(BadShareError, match="not below"):
        Share.from_bytes(1, PRIME.to_bytes(33, "little"))
    for num in (32, 34):
        with pytest.raises(BadShareError, match=f"{num} bytes, not 33"):
            Share.from_bytes(1, bytes(num))


def test_a_share_is_not_printed() -> None:
    assert "12345" not in repr(Share(1, 1234567))


def test_nothing_is_split_for_the_secrets_own_coordinate() -> None:
    with pytest.raises(ValueError, match="0 is the secret's"):
        split(b"7" * 32, 2, [0, 1], source(0))


@pytest.mark.parametrize(
    ("secret", "threshold", "xs", "problem"),
    [
        (bytes(31), 2, [1, 2, 3], "31"),
        (bytes(32), 2, [1, 2, 2], "repeats"),
        (bytes(32), 4, [1, 2, 3], "threshold 4"),
        (bytes(32), 0, [1, 2, 3], "threshold 0"),
    ],
)
def test_impossible_splits_are_refused(
    secret: bytes, threshold: int, xs: list[int], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        split(secret, threshold, xs, source(0))


def test_no_secret_comes_from_no_shares() -> None:
    with pytest.raises(ValueError, match="threshold 0"):
        combine([], 0)


def test_a_random_source_that_runs_dry_is_refused() -> None:
    with pytest.raises(ValueError, match="gave 5 bytes"):
        split(bytes(32), 2, [1, 2], lambda _: bytes(5))


def test_coordinates_go_by_name() -> None:
    roster = {"gcp", "aws", "azure"}
    assert [x_coordinate(name, roster) for name in ("aws", "azure", "gcp")] == [1, 2, 3]
    with pytest.raises(NotAMemberError, match="oci is not in this cohort"):
        x_coordinate("oci", roster)
    with pytest.raises(ValueError, match="repeats"):
        x_coordinate("aws", ["aws", "aws"])
