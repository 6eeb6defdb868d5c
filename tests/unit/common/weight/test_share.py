import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.documents import Algorithm
from common.errors import ConfigError
from common.weight.share import cap_ratio, share_cap

positive = st.floats(1e-3, 1e6)


@given(st.lists(positive, min_size=2, max_size=8), st.data())
def test_the_share_cap_is_the_largest_that_the_formula_allows(
    v: list[float], data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, len(v) - 1))
    ratio = data.draw(st.floats(1, 4))

    cap = share_cap(v, n, ratio)

    def allowed(t: float) -> bool:
        return t <= ratio * math.fsum(sorted(min(x, t) for x in v)[:n]) * (1 + 1e-12)

    assert 0 < cap <= max(v)
    assert allowed(cap)
    larger = [cap + (max(v) - cap) * i / 50 for i in range(1, 51)]
    assert not any(allowed(t) for t in larger if t > cap * (1 + 1e-9))


@pytest.mark.parametrize("max_share", [0.0, 1.0, 0.3])
def test_a_share_that_no_cohort_can_satisfy_is_refused(max_share: float) -> None:
    with pytest.raises(ConfigError, match="max_share"):
        cap_ratio(Algorithm(max_share=max_share))
