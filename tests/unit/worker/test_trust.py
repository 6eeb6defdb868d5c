from dataclasses import replace

from common.documents import Algorithm
from worker.trust import Trust

MASKED = Algorithm(tier="masked", min_cohort=3)


def test_a_plan_of_another_tier_than_the_run_s_is_refused_even_where_the_file_allows_it() -> None:
    # In a plan of tier tls any abort would free work whose masks may be taken off.
    trust = Trust(tier="tls")
    assert trust.complaint(MASKED, "masked") == ""
    assert "the run's is 'masked'" in trust.complaint(MASKED, "tls")
    assert "the run's is 'masked'" in trust.complaint(MASKED, "secret")
    assert "the run's is 'tls'" in trust.complaint(replace(MASKED, tier="tls"), "masked")
