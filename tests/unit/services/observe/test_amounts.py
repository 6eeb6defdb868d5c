import pytest

from services.observe.amounts import human_bytes, human_count, human_dollars, human_seconds


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_951, "1.0 MB"),
        (12_345_678, "12.3 MB"),
        (2**63 - 1, "9.2 EB"),
    ],
)
def test_sizes_are_decimal_and_short(num_bytes, text):
    assert human_bytes(num_bytes) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (384_000, "384.0k"), (999_951, "1.0M"), (2**63 - 1, "9.2E")],
)
def test_counts_are_short(count, text):
    assert human_count(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 s"),
        (0.4219, "0.42 s"),
        (9.996, "10 s"),
        (100.2, "100 s"),
        (120, "2 min"),
        (7200, "2.0 h"),
        (3.6e6, "1000 h"),
    ],
)
def test_durations_have_the_unit_that_fits(seconds, text):
    assert human_seconds(seconds) == text


@pytest.mark.parametrize(
    ("dollars", "text"),
    [
        (0.0, "$0.00"),
        (0.00653, "$0.0065"),
        (0.000001, "under $0.0001"),
        (0.996, "$1.00"),
        (1234.5, "$1,234.50"),
    ],
)
def test_money_keeps_two_digits_that_matter(dollars, text):
    assert human_dollars(dollars) == text
