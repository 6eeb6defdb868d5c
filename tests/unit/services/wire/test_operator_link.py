import json
from typing import Any

import pytest

from common import canonical
from common.documents import Counters, WorkerCounters
from common.errors import MalformedDocumentError
from protos.v1 import operator_pb2
from services.wire.operator_link import run_status
from tests.rig.rounds.masked_members import measured

EVALUATION = measured(3, accuracy=0.4, perplexity=12.2)
COUNTERS = Counters(tokens=99, workers={"aws": WorkerCounters(contributions=2)})


def test_a_status_answer_is_converted_field_by_field():
    answer = operator_pb2.GetStatusResponse(
        run="demo",
        state="running",
        version=3,
        digest=bytes(range(32)),
        progress=0.5,
        evaluation=canonical.encode(EVALUATION),
        counters=canonical.encode(COUNTERS),
        workers=[operator_pb2.WorkerStatus(name="aws", live=True, state="training", tokens=7)],
        bytes_by_kind={"up_update": 5, "up_control": 1},
        bytes_up=25,
        bytes_down=30,
        float32_bytes=100,
    )
    status = run_status(answer)
    assert (status.run, status.version, status.progress) == ("demo", 3, 0.5)
    assert status.digest == bytes(range(32)).hex()
    assert status.evaluation == EVALUATION
    assert status.counters == COUNTERS
    assert [(w.name, w.live, w.state, w.tokens) for w in status.workers] == [
        ("aws", True, "training", 7)
    ]
    assert list(status.bytes_by_kind.items()) == [("up_control", 1), ("up_update", 5)]
    assert (status.bytes_moved, status.fedavg_bytes) == (55, 200)


def test_strings_of_the_answer_are_fit_to_be_shown():
    forged, shown = "x\x1b[2J\nrolled back", r"x\x1b[2J\nrolled back"
    texts = ("run", "state", "phase", "waiting_for", "privacy", "outage")
    forgeries: dict[str, Any] = dict.fromkeys(texts, forged)
    status = run_status(
        operator_pb2.GetStatusResponse(
            **forgeries,
            workers=[operator_pb2.WorkerStatus(name=forged, state=forged)],
            bytes_by_kind={forged: 1},
        )
    )
    assert {getattr(status, name) for name in texts} == {shown}
    assert [(w.name, w.state) for w in status.workers] == [(shown, shown)]
    assert status.bytes_by_kind == {shown: 1}


def test_every_field_of_the_answer_has_its_place():
    names = {f.name for f in operator_pb2.GetStatusResponse.DESCRIPTOR.fields}
    assert names == set(run_status(operator_pb2.GetStatusResponse()).__slots__)


def test_a_status_as_json_has_every_field_and_every_workers():
    aws = operator_pb2.WorkerStatus(name="aws", live=True, tokens=7, idle_share=0.5)
    answer = operator_pb2.GetStatusResponse(
        run="demo", counters=canonical.encode(COUNTERS), workers=[aws], bytes_up=2**60
    )
    plain = json.loads(json.dumps(run_status(answer).plain()))
    assert plain.keys() == {f.name for f in operator_pb2.GetStatusResponse.DESCRIPTOR.fields}
    assert (plain["run"], plain["evaluation"], plain["bytes_up"]) == ("demo", None, 2**60)
    assert plain["counters"]["tokens"] == 99
    (worker,) = plain["workers"]
    assert worker.keys() == {f.name for f in operator_pb2.WorkerStatus.DESCRIPTOR.fields}
    assert (worker["live"], worker["tokens"], worker["idle_share"]) == (True, 7, 0.5)
    assert (worker["state"], worker["pending_steps"]) == ("", 0)


def test_a_run_that_was_not_measured_yet_has_no_evaluation():
    status = run_status(operator_pb2.GetStatusResponse())
    assert status.evaluation is None
    assert status.counters == Counters()


def test_a_document_that_is_not_canonical_is_refused():
    with pytest.raises(MalformedDocumentError, match="Evaluation"):
        run_status(operator_pb2.GetStatusResponse(evaluation=b"{}"))
