import pytest

from common.documents import Algorithm
from common.weight.staleness import staleness_65535


@pytest.mark.parametrize(
    ("kind", "age", "expected"),
    [
        ("poly", 0.0, 1.0),
        ("poly", 3.0, 0.5),
        ("constant", 7.0, 1.0),
        ("hinge", 4.0, 1.0),
        ("hinge", 6.0, 0.5),
    ],
)
def test_staleness_discounts_as_its_formula_says(kind: str, age: float, expected: float) -> None:
    """FedAsync's three (Xie et al. 2019); poly with 1/2 is FedBuff's too (Nguyen et al. 2022)."""
    algorithm = Algorithm(staleness=kind)

    assert staleness_65535(int(256 * age), algorithm) == round(65535 * expected)
