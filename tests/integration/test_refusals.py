"""What the coordinator refuses, over real gRPC and mTLS: with a sentence, and the run unharmed."""

import datetime
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from common import canonical
from common.documents import Abort, Answer
from common.ids import Digest, WorkerId
from common.shards import SHARD_BYTES
from protos.v1 import operator_pb2, session_pb2
from services.trust.authority import Authority, authority_in
from tests.integration.conftest import LoneCoordinator, Make, commit_round, good_shards
from tests.rig import certificates
from tests.rig.rounds.masked_members import measured
from tests.rig.workers.light_worker import LightWorker, credentials


def refusal(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details() or ""


@pytest.fixture(autouse=True)
def _run_is_unharmed(coordinator: LoneCoordinator) -> object:
    yield
    status = coordinator.status()
    assert status is not None
    assert (status.state, status.version) == ("running", 0)


def submit(round_id: bytes, answer: bytes) -> session_pb2.SubmitAnswer:
    return session_pb2.SubmitAnswer(round_id=round_id, answer=answer)


def own_authority(folder: Path) -> Authority:
    found = authority_in(folder, "test", datetime.datetime.now(datetime.UTC))
    assert found is not None
    return found


def stranger(
    coordinator: LoneCoordinator, folder: Path, signer: Authority, **how: object
) -> LightWorker:
    tls = certificates.tls_files(folder, signer, run="test", **how)  # type: ignore[arg-type]
    (folder / "ca.pem").write_bytes((coordinator.folder / "certs" / "ca.pem").read_bytes())
    name = str(how.get("name", "aws"))
    worker = coordinator.worker("aws")
    worker.credentials = credentials(tls.ca.parent, name)
    return worker


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"protocol": 0}, "upgrade the worker"),
        ({"protocol": 99}, "upgrade the coordinator"),
        ({"schema_hash": bytes(32)}, "the worker's learner built another model"),
        ({"self_test": bytes(32)}, "the worker's arithmetic differs"),
        (
            {"validation": "ab" * 32},
            "validation shard is abababababababab, the run's none",
        ),
        ({"genesis_hash": bytes(32)}, "the worker pins another run"),
        ({"features": []}, "privacy tier is 'tls'"),
        ({"boot": "x" * 129}, "boot has 129 characters, at most 128 are kept"),
        ({"software": "x" * 129}, "software has 129 characters, at most 128 are kept"),
        ({"next_seq": 10_000}, "it was part of another history of this run"),
    ],
)
def test_a_worker_that_could_not_take_part_is_refused_at_join(
    coordinator: LoneCoordinator, changes: dict[str, object], sentence: str
) -> None:
    with coordinator.worker("aws") as worker:
        code, details = refusal(lambda: worker.join(**changes))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert sentence in details


def test_a_certificate_of_another_ca_gets_no_connection(
    coordinator: LoneCoordinator, tmp_path: Path
) -> None:
    with stranger(coordinator, tmp_path, certificates.authority("test")) as worker:
        code, _ = refusal(worker.join)
    assert code is grpc.StatusCode.UNAVAILABLE


def test_an_expired_certificate_gets_no_connection(
    coordinator: LoneCoordinator, tmp_path: Path
) -> None:
    own_ca = own_authority(coordinator.folder / "certs")
    with stranger(coordinator, tmp_path, own_ca, days=(-3, -1)) as worker:
        code, _ = refusal(worker.join)
    assert code is grpc.StatusCode.UNAVAILABLE


def test_a_name_that_is_not_on_the_list_is_refused(
    coordinator: LoneCoordinator, tmp_path: Path
) -> None:
    own_ca = own_authority(coordinator.folder / "certs")
    with stranger(coordinator, tmp_path, own_ca, name="mallory") as worker:
        code, details = refusal(worker.join)
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert "mallory is not on the member list" in details


def test_a_worker_may_not_make_operator_calls(coordinator: LoneCoordinator) -> None:
    with coordinator.worker("aws") as worker:
        for call in (
            partial(worker.operator.GetStatus, operator_pb2.GetStatusRequest()),
            partial(worker.operator.Pause, operator_pb2.PauseRequest()),
            partial(worker.operator.Stop, operator_pb2.StopRequest()),
        ):
            code, details = refusal(call)
            assert code is grpc.StatusCode.PERMISSION_DENIED
            assert "aws has role worker" in details


def test_a_worker_may_not_report_evaluations(coordinator: LoneCoordinator) -> None:
    content = canonical.encode(measured(0))
    request = session_pb2.ReportEvaluationRequest(evaluation=content)
    with coordinator.worker("aws") as worker:
        code, details = refusal(lambda: worker.session.ReportEvaluation(request))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "only evaluator" in details


def test_the_operator_may_not_join_as_a_worker(coordinator: LoneCoordinator) -> None:
    worker = coordinator.worker("operator")
    with worker:
        code, details = refusal(worker.join)
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "operator has role operator" in details


def test_messages_without_sense_are_rejected_and_the_session_goes_on(
    coordinator: LoneCoordinator,
) -> None:
    with coordinator.worker("aws") as worker:
        worker.join()
        digest = Digest("0" * 64)
        answer = canonical.encode(Answer(digest, WorkerId("aws"), worker.numbers()))
        for message, error in (
            ({"answer": submit(bytes(16), answer)}, "UnknownRoundError"),
            ({"answer": submit(bytes(3), answer)}, "UnexpectedMessageError"),
            ({"answer": submit(bytes(16), b"{}")}, "MalformedDocumentError"),
            ({"offer": session_pb2.SubmitOffer(offer=b'{"run":"test"}')}, "MalformedDocumentError"),
            ({"offer": session_pb2.SubmitOffer(offer=b"\xff")}, "MalformedDocumentError"),
            ({"join": worker.join_message()}, "UnexpectedMessageError"),
            ({}, "UnexpectedMessageError"),
        ):
            worker.send(**message)
            assert worker.receive("rejected").error == error, message
        worker.offer(worker="gcp")
        assert "in the name of gcp" in worker.receive("rejected").sentence
        worker.send(leave=session_pb2.Leave(reason="done"))


def test_the_first_message_has_to_be_a_join(coordinator: LoneCoordinator) -> None:
    with coordinator.worker("aws") as worker:
        worker.send(heartbeat=session_pb2.Heartbeat())
        code, details = refusal(worker.join)
    assert code is grpc.StatusCode.ABORTED
    assert "expected join, got heartbeat" in details


def test_shards_of_an_unknown_round_and_empty_uploads_are_refused(
    coordinator: LoneCoordinator,
) -> None:
    with coordinator.worker("aws") as worker:
        code, details = refusal(lambda: worker.push((bytes(16), 0, b"x")))
        assert code is grpc.StatusCode.NOT_FOUND
        assert "is over, or was never opened" in details
        code, details = refusal(worker.push)
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        code, details = refusal(lambda: worker.push((bytes(5), 0, b"x")))
        assert code is grpc.StatusCode.ABORTED


class TestRound:
    """One worker is a whole cohort here: its offer closes the round."""

    @pytest.fixture(autouse=True)
    def _run_is_unharmed(self) -> None:
        """The runs of these tests are their own."""

    def test_wrong_shards_are_refused_by_name_and_the_round_commits(
        self, make_coordinator: Make
    ) -> None:
        coordinator = make_coordinator()
        with coordinator.worker("aws") as aws, coordinator.worker("gcp") as gcp:
            aws.join()
            aws.offer()
            plan = aws.receive_plan()
            raw_id, layout = bytes.fromhex(plan.round), aws.layout(plan)
            code, _ = refusal(lambda: aws.push((raw_id, 0, bytes(8))))
            assert code is grpc.StatusCode.NOT_FOUND, "numbers first"

            aws.answer(plan)
            aws.receive("members")
            _, length = layout.shard(0)
            for shard, sentence in (
                ((raw_id, layout.num_shards, bytes(8)), f"shard {layout.num_shards}"),
                ((raw_id, 0, bytes(length - 1)), f"got {length - 1}"),
                ((raw_id, 0, bytes(length + 1)), f"got {length + 1}"),
                ((raw_id, 0, bytes(SHARD_BYTES + 1)), "wrong length"),
            ):
                code, details = refusal(partial(aws.push, shard))
                assert code is grpc.StatusCode.OUT_OF_RANGE
                assert sentence in details
            code, details = refusal(lambda: gcp.push((raw_id, 0, bytes(length))))
            assert code is grpc.StatusCode.UNAUTHENTICATED
            assert "gcp is not in the cohort" in details
            code, details = refusal(
                lambda: aws.push((raw_id, 0, bytes(length)), (bytes(16), 0, bytes(length)))
            )
            assert "one round only" in details

            assert not aws.push(*good_shards(aws, plan)).missing
            assert aws.receive_record("commit").version == 1
            code, _ = refusal(lambda: aws.push((raw_id, 0, bytes(length))))
            assert code is grpc.StatusCode.NOT_FOUND, "the round is over"
            aws.answer(plan)
            assert aws.receive("rejected").error == "UnknownRoundError"

    def test_values_beyond_the_ring_abort_the_round_by_name_and_the_next_commits(
        self, make_coordinator: Make
    ) -> None:
        coordinator = make_coordinator()
        with coordinator.worker("aws") as aws:
            aws.join()
            aws.offer()
            plan = aws.receive_plan()
            aws.answer(plan)
            aws.receive("members")
            shards = good_shards(aws, plan)
            raw_id, index, payload = shards[0]
            aws.push((raw_id, index, b"\x00\x80" * (len(payload) // 2)), *shards[1:])
            abort = aws.receive_body(Abort)
            assert abort.reason == "bad_update"
            assert abort.detail.startswith("aws: ")
            status = coordinator.status()
            assert status is not None
            assert "aws spoilt 1 round" in status.waiting_for  # nobody else has to wait

            aws.offer(nonce="cd" * 16)
            commit_round(aws)

    def test_nan_in_a_float32_update_aborts_the_round_by_name(self, make_coordinator: Make) -> None:
        coordinator = make_coordinator(
            preset="fedavg", algorithm={"policy": "async", "tier": "tls", "min_cohort": 1}
        )
        with coordinator.worker("aws") as aws:
            aws.join()
            aws.offer()
            plan = aws.receive_plan()
            assert plan.bits == 32
            aws.answer(plan)
            aws.receive("members")
            shards = good_shards(aws, plan)
            raw_id, index, payload = shards[0]
            aws.push((raw_id, index, b"\x00\x00\xc0\x7f" * (len(payload) // 4)), *shards[1:])
            abort = aws.receive_body(Abort)
            assert abort.reason == "bad_update"
            assert "aws" in abort.detail

            aws.offer(nonce="cd" * 16)
            commit_round(aws)

    def test_impossible_numbers_are_rejected_and_sound_ones_still_count(
        self, make_coordinator: Make
    ) -> None:
        coordinator = make_coordinator()
        with coordinator.worker("aws") as aws:
            aws.join()
            aws.offer()
            plan = aws.receive_plan()
            for field, value in (("lr_sum", -1.0), ("tokens", 0), ("age_256", 10**6)):
                wrong: dict[str, Any] = {field: value}
                aws.answer(plan, replace(aws.numbers(), **wrong))
                rejected = aws.receive("rejected")
                assert rejected.error == "BadNumbersError"
                assert field in rejected.sentence
            commit_round(aws, plan)
