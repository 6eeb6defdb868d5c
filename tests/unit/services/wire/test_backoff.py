from services.wire.backoff import LONGEST_TOLD_S, RetryBackoff


def test_failures_wait_ever_longer_up_to_a_limit() -> None:
    backoff = RetryBackoff(1.0, 8.0)
    for mean_s in (1, 2, 4, 8, 8):
        assert 0.5 * mean_s <= backoff.wait_s(None) <= 1.5 * mean_s
    backoff.reset()
    assert backoff.wait_s(None) <= 1.5


def test_who_is_told_when_to_come_back_comes_no_earlier_and_it_is_no_failure() -> None:
    backoff = RetryBackoff(1.0, 8.0)
    waits_s = {backoff.wait_s(40.0) for _ in range(20)}
    assert all(40 <= s <= 60 for s in waits_s)
    assert len(waits_s) > 1, "jittered"
    assert backoff.wait_s(None) <= 1.5, "the first failure still waits the shortest"


def test_nobody_is_sent_away_for_longer_than_minutes() -> None:
    waits_s = [RetryBackoff(1.0, 8.0).wait_s((2**32 - 1) / 1000) for _ in range(20)]
    assert all(LONGEST_TOLD_S <= s <= 1.5 * LONGEST_TOLD_S for s in waits_s)
