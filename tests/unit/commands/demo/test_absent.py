from collections.abc import Sequence

from commands.demo.absent import Absent
from protos.v1 import operator_pb2
from services.wire.operator_link import RunStatus, run_status

ALL = ("aws", "gcp", "azure")


def joined(*names: str) -> RunStatus:
    workers = [operator_pb2.WorkerStatus(name=name) for name in names]
    return run_status(operator_pb2.GetStatusResponse(workers=workers))


def said(absent: Absent, *looks: tuple[RunStatus | None, float]) -> list[Sequence[str]]:
    return [absent.due(status, now_s) for status, now_s in looks]


def test_nobody_is_named_before_the_time_is_over_and_everybody_then() -> None:
    absent = Absent(ALL, 60.0, now_s=100.0)
    assert said(absent, (None, 100.0), (joined(), 159.9), (joined(), 160.0)) == [(), (), ALL]


def test_they_are_named_again_only_after_as_long() -> None:
    absent = Absent(ALL, 60.0, now_s=0.0)
    looks = [(None, 61.0), (None, 62.0), (joined(), 120.9), (None, 121.0)]
    assert said(absent, *looks) == [ALL, (), (), ALL]


def test_whoever_joined_once_is_not_named_any_more() -> None:
    absent = Absent(ALL, 60.0, now_s=0.0)
    looks = [(joined("gcp"), 5.0), (joined(), 61.0), (joined("azure"), 122.0)]
    assert said(absent, *looks) == [(), ("aws", "azure"), ("aws",)]


def test_a_run_in_which_all_joined_names_nobody_for_ever() -> None:
    absent = Absent(ALL, 60.0, now_s=0.0)
    assert said(absent, (joined(*ALL), 1.0), (None, 1000.0)) == [(), ()]


def test_a_worker_that_was_lost_has_joined() -> None:
    lost = joined(*ALL)
    assert not any(worker.live for worker in lost.workers)
    assert said(Absent(ALL, 60.0, now_s=0.0), (lost, 61.0)) == [()]
