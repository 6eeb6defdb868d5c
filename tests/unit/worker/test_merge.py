import numpy as np

from worker.merge import merge, spend


def test_merging_keeps_the_work_since_the_anchor() -> None:
    head, anchor, work = np.random.default_rng(0).standard_normal((3, 20)).astype(np.float32)
    theta = anchor + work

    merge(theta, head, anchor)

    np.testing.assert_allclose(theta, head + work, atol=1e-6)


def test_spending_forgets_the_work_up_to_close() -> None:
    base, at_close, later = np.random.default_rng(1).standard_normal((3, 20)).astype(np.float32)
    theta = at_close + later

    spend(theta, base, at_close)

    np.testing.assert_allclose(theta, base + later, atol=1e-6)
