from contextlib import ExitStack

import pytest

from common.errors import BusyError
from services.coordinator.calls import Calls, StreamLimits


class Context:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_quarter_of_the_streams_is_for_uploads_alone() -> None:
    calls = Calls(StreamLimits(streams=4, per_member=4))
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(calls.by("aws", Context(), upload=False))
        with (
            pytest.raises(BusyError, match="of them 3 downloads"),
            calls.by("gcp", Context(), upload=False),
        ):
            pass
        stack.enter_context(calls.by("gcp", Context(), upload=True))
        with pytest.raises(BusyError, match="4 streams are allowed"):
            calls.check_upload("azure")
    calls.check_upload("azure")


def test_one_name_cannot_take_every_place() -> None:
    calls = Calls(StreamLimits(streams=8, per_member=1))
    with calls.by("aws", Context(), upload=True):
        with pytest.raises(BusyError, match="aws has 1 uploads and downloads open"):
            calls.check_upload("aws")
        calls.check_upload("gcp")
    calls.check_upload("aws")


def test_only_what_does_not_move_is_ended() -> None:
    clock, still, moving = Clock(), Context(), Context()
    calls = Calls(StreamLimits(stall_s=10.0), now_s=clock)
    with calls.by("aws", still, upload=True), calls.by("gcp", moving, upload=False) as call:
        clock.now_s = 9.0
        call.moved()
        calls.end_stalled()
        assert not still.cancelled
        clock.now_s = 11.0
        calls.end_stalled()
        assert (still.cancelled, moving.cancelled) == (True, False)


def test_a_removed_name_loses_its_streams_alone() -> None:
    calls, gone, other = Calls(StreamLimits()), Context(), Context()
    with calls.by("aws", gone, upload=True), calls.by("gcp", other, upload=True):
        calls.end("aws")
        assert (gone.cancelled, other.cancelled) == (True, False)


def test_draining_lets_uploads_in_and_no_download() -> None:
    calls = Calls(StreamLimits())
    calls.drain()
    with (
        pytest.raises(BusyError, match="is ending"),
        calls.by("gcp", Context(), upload=False),
    ):
        pass
    with calls.by("gcp", Context(), upload=True):
        pass
