import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from commands import operator
from commands.operator import describe
from common.documents import Counters, Evaluation
from common.errors import ToldToEndError
from protos.v1.operator_pb2 import WorkerStatus
from services.wire.operator_link import RunStatus, UnreachableError
from tests.rig.rounds.masked_members import measured

AWS = WorkerStatus(
    name="aws",
    live=True,
    silent_s=0.5,
    version=12,
    staleness=1.25,
    steps_per_s=7.96,
    tokens=123456,
    steps=80,
    contributions=10,
    bytes_sent=2_500_000,
    bytes_received=1,
    idle_share=0.01,
    state="in round: collect_masked",
    pending_steps=3,
)


def status(evaluation: Evaluation | None) -> RunStatus:
    return RunStatus(
        run="demo",
        state="running",
        version=12,
        digest="ab" * 32,
        num_records=13,
        progress=0.5,
        seconds=61.4,
        phase="collect_masked",
        waiting_for="uploads of azure, for 2 s",
        privacy="the coordinator sees every update",
        evaluation=evaluation,
        counters=Counters(),
        workers=(AWS,),
        aborts=0,
        bytes_up=1,
        bytes_down=1,
        bytes_by_kind={},
        float32_bytes=4,
        outage="",
    )


def test_a_status_is_a_few_lines_and_a_table() -> None:
    text = describe(status(measured(11, 2.3456, accuracy=0.4321)))
    assert text.splitlines() == [
        "run demo: running, version 12, 50% done, 61 s",
        "phase collect_masked: uploads of azure, for 2 s",
        "privacy: the coordinator sees every update",
        "loss 2.346 nats, accuracy 43.2% at version 11",
        "",
        "worker  version  staleness  steps/s  tokens  sent    state",
        "aws     12       1.2        8.0      123.5k  2.5 MB  collect masked",
    ]


def test_a_run_that_was_not_evaluated_says_so() -> None:
    assert "not evaluated yet" in describe(status(None))


def test_watching_goes_on_without_an_answer_and_ends_with_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: list[RunStatus | UnreachableError] = [
        status(None),
        UnreachableError("nothing listens there"),
        status(None),
        replace(status(None), state="stopped"),
    ]

    class Link:
        def status(self) -> RunStatus:
            answer = answers.pop(0)
            if isinstance(answer, UnreachableError):
                raise answer
            return answer

    pauses: list[float] = []
    monkeypatch.setattr(operator, "_link", lambda config: nullcontext(Link()))
    monkeypatch.setattr(time, "sleep", pauses.append)
    assert operator.status(Path("x"), as_json=False, watch=True) == 0
    said = capsys.readouterr()
    assert said.out.count("run demo:") == 3
    assert said.err == "no answer: nothing listens there\n"
    assert pauses == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("state", "said"),
    [("running", "pauses at the next round boundary"), ("paused", "it is paused already")],
)
def test_a_pause_says_whether_it_is_one_already(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str, said: str
) -> None:
    class Link:
        def status(self) -> RunStatus:
            return replace(status(None), state=state)

        def pause(self) -> None:
            pass

    monkeypatch.setattr(operator, "_link", lambda config: nullcontext(Link()))
    assert operator.pause(Path("x")) == 0
    assert capsys.readouterr().out == f"{said}\n"


def test_who_stops_waiting_for_a_roll_back_is_told_that_it_is_still_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Link:
        def status(self) -> RunStatus:
            return status(None)

        def rollback(self, version: int, *, shown: object) -> None:
            raise ToldToEndError

    monkeypatch.setattr(operator, "_link", lambda config: nullcontext(Link()))
    with pytest.raises(ToldToEndError):
        operator.rollback(Path("x"), 3)
    said = capsys.readouterr()
    assert "unless the coordinator ends before" in said.err
    assert "rolled back" not in said.out
