import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.documents import Algorithm
from common.errors import NotAMemberError
from common.ids import SessionId, WorkerId
from coordinator.membership import Membership
from coordinator.ports import Joined

A, B = WorkerId("aws"), WorkerId("azure")
A1, A2, B1 = SessionId("aws-1"), SessionId("aws-2"), SessionId("azure-1")


def joined(worker: WorkerId, session: SessionId, speed: int = 0) -> Joined:
    return Joined(worker, session, "b1", 0, speed)


def test_the_newer_session_of_a_name_is_its_only_one() -> None:
    membership = Membership(lease_s=10.0)
    assert membership.join(joined(A, A1), 0.0) is None

    former = membership.join(joined(A, A2), 1.0)

    assert former is not None
    assert former.session == A1
    assert membership.of_session(A2).worker == A
    with pytest.raises(NotAMemberError, match="join again"):
        membership.of_session(A1)
    assert membership.disconnect(A1) is None
    assert membership.of_session(A2).connected


def test_a_broken_stream_does_not_end_a_lease_and_silence_does() -> None:
    membership = Membership(lease_s=10.0)
    membership.join(joined(A, A1), 0.0)
    membership.disconnect(A1)

    assert membership.lapse(10.0) == ()
    assert [m.worker for m in membership.live()] == [A]
    assert [m.worker for m in membership.lapse(10.1)] == [A]
    assert membership.lapse(10.2) == ()  # told once
    assert membership.live() == ()
    assert [m.worker for m in membership.all()] == [A]


def test_whoever_is_heard_again_is_live_again() -> None:
    membership = Membership(lease_s=10.0)
    membership.join(joined(A, A1), 0.0)
    member = membership.of_session(A1)
    assert not member.hear(1.0)
    membership.lapse(20.0)

    assert member.hear(21.0)
    assert membership.live() == (member,)


def test_a_worker_that_left_has_no_session() -> None:
    membership = Membership(lease_s=10.0)
    membership.join(joined(A, A1), 0.0)
    membership.join(joined(B, B1), 0.0)

    membership.remove(A)

    assert membership.get(A) is None
    assert not membership.is_open(A1)
    assert [m.worker for m in membership.all()] == [B]


@given(st.integers(0, 2**48), st.integers(0, 2**48), st.integers(1, 100), st.integers(1, 100))
def test_local_steps_stay_within_their_bounds_and_follow_speed(
    slow: int, fast: int, local_steps: int, min_local_steps: int
) -> None:
    slow, fast = sorted((slow, fast))
    algorithm = Algorithm(local_steps=local_steps, min_local_steps=min_local_steps)
    membership = Membership(lease_s=10.0)
    membership.join(joined(A, A1, slow), 0.0)
    membership.join(joined(B, B1, fast), 0.0)

    h_slow = membership.local_steps(membership.of_session(A1), algorithm)
    h_fast = membership.local_steps(membership.of_session(B1), algorithm)

    assert h_fast == local_steps
    assert min(min_local_steps, local_steps) <= h_slow <= local_steps
    if slow > 0 and min_local_steps < h_slow < local_steps:
        fastest = min(fast, 16 * slow)  # of two, the slower one is the median
        assert abs(h_slow - local_steps * slow / fastest) <= 0.5 + 1e-9


def test_the_silent_do_not_set_the_pace() -> None:
    membership = Membership(lease_s=10.0)
    membership.join(joined(A, A1, 1000), 0.0)
    membership.join(joined(B, B1, 100), 5.0)
    algorithm = Algorithm(local_steps=20, min_local_steps=1)
    assert membership.local_steps(membership.of_session(B1), algorithm) == 2

    membership.lapse(12.0)

    assert membership.local_steps(membership.of_session(B1), algorithm) == 20


@pytest.mark.parametrize(("claimed", "steps"), [(40, 5), (100, 2), (160, 1), (2**48, 1)])
def test_a_claimed_speed_counts_for_16_times_the_median_at_most(claimed: int, steps: int) -> None:
    algorithm = Algorithm(local_steps=20, min_local_steps=1)
    membership = Membership(lease_s=10.0)
    for worker, session, speed in ((A, A1, 10), (B, B1, 10), (WorkerId("gcp"), A2, claimed)):
        membership.join(joined(worker, session, speed), 0.0)
    assert membership.local_steps(membership.of_session(A1), algorithm) == steps
