from common.documents import TIERS
from coordinator.sums.summing import SUMMING


def test_each_privacy_tier_has_its_way_of_adding_up() -> None:
    assert SUMMING.keys() == set(TIERS)
    assert len(set(SUMMING.values())) == len(TIERS)
