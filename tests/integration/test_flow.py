"""Limits, and ending on purpose, over real gRPC and mTLS: who is refused loses nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Event
from typing import Any

import grpc
import pytest

from commands.demo.layout import COORDINATOR
from common.documents import Abort, Commit
from common.ids import RoundId, WorkerId
from protos.v1 import bulk_pb2, session_pb2
from services.process.exit_status import Exit
from services.wire.bulk_link import BulkLink
from services.wire.channels import dial
from services.wire.status import retry_after_s
from tests.integration.conftest import LoneCoordinator, Make, commit_round, good_shards
from tests.rig.workers.light_worker import LightWorker, StreamEndedError

PATIENCE_S = 60.0


def with_limits(make_coordinator: Make, *, wait: bool = True, **changes: Any) -> LoneCoordinator:
    coordinator = make_coordinator(start=False, **changes.pop("run", {}))
    coordinator.edit(COORDINATOR, **changes)
    coordinator.start(wait=wait)
    return coordinator


class Holder:
    """Holds streams open that send nothing, on which every place is taken."""

    def __init__(self, worker: LightWorker, num_streams: int) -> None:
        self._worker = worker
        self._released = Event()
        self.calls = [self._opened() for _ in range(num_streams)]

    def _opened(self) -> "grpc.CallFuture[bulk_pb2.PushShardsResponse]":  # of the stubs only
        def nothing() -> Iterator[bulk_pb2.Shard]:
            self._released.wait(PATIENCE_S)
            yield from ()

        return self._worker.shards.PushShards.future(nothing())

    def refused(self, worker: LightWorker) -> grpc.RpcError:
        """Return how one more of `worker` is refused once all are open."""
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            # one that met a try of ours was refused in its stead
            self.calls = [self._opened() if c.done() else c for c in self.calls]
            time.sleep(0.1)
            e = status_of_upload(worker)
            if e.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                if not any(c.done() for c in self.calls):
                    return e
            else:
                assert e.code() is grpc.StatusCode.FAILED_PRECONDITION, e
        raise AssertionError("the streams never all came in")

    def __enter__(self) -> "Holder":
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()


def status_of_upload(worker: LightWorker) -> grpc.RpcError:
    """Try an upload without shards, which is refused at once in any case."""
    with pytest.raises(grpc.RpcError) as caught:
        worker.push()
    return caught.value


def aws_upload_is_busy(aws: LightWorker) -> bool:
    return status_of_upload(aws).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def busy(call: Callable[[], object]) -> grpc.RpcError:
    """Return the refusal of a call, which says when to come back."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, caught.value
    assert retry_after_s(caught.value)
    return caught.value


def said(refusal: grpc.RpcError) -> str:
    return refusal.details() or ""


def in_round(worker: LightWorker) -> Any:
    worker.join()
    worker.offer()
    plan = worker.receive_plan()
    worker.answer(plan)
    worker.receive("members")
    return plan


def test_excess_streams_are_refused_with_a_time_to_come_back_and_calls_are_answered_all_the_same(
    make_coordinator: Make,
) -> None:
    limits = {"max_streams": 4, "max_streams_per_member": 2}
    coordinator = with_limits(make_coordinator, limits=limits)
    with ExitStack() as stack:
        aws, azure, gcp = (
            stack.enter_context(coordinator.worker(n)) for n in ("aws", "azure", "gcp")
        )
        plan = in_round(aws)
        with Holder(azure, 2) as azures, Holder(gcp, 2) as gcps:
            mine = azures.refused(azure)
            assert "2 are allowed" in said(mine)
            everybodys = gcps.refused(aws)
            assert "4 streams are allowed" in said(everybodys)
            for refusal in (mine, everybodys):
                assert 0.75 <= (retry_after_s(refusal) or 0) <= 1.25
            missing = bulk_pb2.ListMissingRequest(round_id=bytes.fromhex(plan.round))
            download = bulk_pb2.DownloadRequest(digest=bytes.fromhex(coordinator.genesis.version0))
            assert busy(lambda: aws.shards.ListMissing(missing, timeout=PATIENCE_S)), "in vain"
            assert busy(lambda: next(iter(aws.shards.Download(download, timeout=PATIENCE_S))))
            aws.send(heartbeat=session_pb2.Heartbeat(speed=100))
            aws.receive("pace")
        while aws_upload_is_busy(aws):
            time.sleep(0.02)
        assert not aws.push(*good_shards(aws, plan)).missing
        assert aws.receive_record("commit").version == 1


def test_a_worker_that_is_refused_comes_back_and_its_upload_counts(make_coordinator: Make) -> None:
    coordinator = with_limits(make_coordinator, limits={"max_streams": 4})
    with coordinator.worker("aws") as aws, coordinator.worker("azure") as azure:
        plan = in_round(aws)
        shards = {index: payload for _, index, payload in good_shards(aws, plan)}
        link = BulkLink(dial(aws.bulk, aws.credentials), Event())
        with Holder(azure, 4) as azures:
            azures.refused(azure)
            pushing = threading.Thread(
                target=link.push,
                args=(RoundId(plan.round), len(shards), shards.__getitem__),
                kwargs={"give_up": Event()},
            )
            pushing.start()
            log = coordinator.layout.log(COORDINATOR)
            before = log.read_text().count("answered RESOURCE_EXHAUSTED")
            while log.read_text().count("answered RESOURCE_EXHAUSTED") < before + 2:
                assert pushing.is_alive()
                time.sleep(0.05)
        pushing.join(PATIENCE_S)
        assert aws.receive_body(Commit).survivors == (WorkerId("aws"),)
        link.close()


def test_a_stream_that_moves_nothing_loses_its_place(make_coordinator: Make) -> None:
    coordinator = with_limits(make_coordinator, limits={"stall_s": 0.5})
    with coordinator.worker("aws") as aws, Holder(aws, 1) as held:
        assert held.calls[0].code() is grpc.StatusCode.CANCELLED


def test_a_full_spool_refuses_uploads_with_a_sentence(make_coordinator: Make) -> None:
    coordinator = with_limits(
        make_coordinator, limits={"max_spool_bytes": 2**20}, run={"settings": {"width": 1000}}
    )
    with coordinator.worker("aws") as aws:
        plan = in_round(aws)
        assert aws.layout(plan).sent_bytes > 2**20
        missing = bulk_pb2.ListMissingRequest(round_id=bytes.fromhex(plan.round))
        for call in (
            lambda: aws.push(*good_shards(aws, plan)),
            lambda: aws.shards.ListMissing(missing, timeout=PATIENCE_S),
        ):
            assert "raise limits.max_spool_bytes" in said(busy(call))


def test_sessions_are_limited_in_all_and_a_name_may_always_come_back(
    make_coordinator: Make,
) -> None:
    coordinator = with_limits(
        make_coordinator, limits={"max_sessions": 2, "max_sessions_per_name": 2}
    )
    with ExitStack() as stack:
        first, again, azure, gcp = (
            stack.enter_context(coordinator.worker(n)) for n in ("aws", "aws", "azure", "gcp")
        )
        first.join()
        azure.join()
        busy(gcp.join)
        again.join()  # its name's oldest stream gives way
        assert first.ended() is grpc.StatusCode.FAILED_PRECONDITION
        again.send(heartbeat=session_pb2.Heartbeat(speed=100))
        again.receive("pace")


def ends_well(coordinator: LoneCoordinator) -> None:
    assert coordinator.process is not None
    assert coordinator.process.wait(PATIENCE_S)
    assert coordinator.process.exit_code == Exit.TOLD, coordinator.process.last_lines()


@contextmanager
def half_an_upload(worker: LightWorker, plan: Any, coordinator: LoneCoordinator) -> Iterator[Event]:
    """Hold a real upload after its first shard; set the event to let the rest go."""
    first, *rest = good_shards(worker, plan)
    go_on, done = Event(), Event()

    def messages() -> Iterator[bulk_pb2.Shard]:
        yield bulk_pb2.Shard(round_id=first[0], index=first[1], payload=first[2])
        go_on.wait(PATIENCE_S)
        for raw_id, index, payload in rest:
            yield bulk_pb2.Shard(round_id=raw_id, index=index, payload=payload)

    call = worker.shards.PushShards.future(messages(), timeout=PATIENCE_S)
    call.add_done_callback(lambda _: done.set())
    spool = coordinator.layout.state(COORDINATOR) / "spool"
    while not list(spool.glob(f"*/{worker.name}.part")):
        assert not done.is_set()
    yield go_on
    go_on.set()


def is_told_to_dial_again(worker: LightWorker) -> None:
    """Wait for the last message, or the end: gRPC may drop what stands right before a stream's end
    where the machine is busy (seen once in 15 runs of five at a time), but never the end.
    """
    try:
        told = worker.receive("reconnect")
    except StreamEndedError:
        return
    assert told.after_ms > 0


def test_a_sigterm_in_mid_upload_lets_the_round_end_and_sends_the_workers_to_the_next(
    make_coordinator: Make,
) -> None:
    coordinator = with_limits(make_coordinator, drain_s=PATIENCE_S)
    with coordinator.worker("aws") as aws, coordinator.worker("azure") as azure:
        plan = in_round(aws)
        with half_an_upload(aws, plan, coordinator) as go_on:
            assert coordinator.process is not None
            coordinator.process.terminate()
            log = coordinator.layout.log(COORDINATOR)
            while "draining for at most" not in log.read_text():
                assert coordinator.process.exit_code is None
            assert "is ending" in said(busy(azure.join))
            go_on.set()
            is_told_to_dial_again(aws)
        ends_well(coordinator)
    coordinator.start()
    status = coordinator.status()
    assert status is not None
    assert (status.version, status.aborts) == (1, 0)
    assert status.counters.workers["aws"].contributions == 1


def test_an_upload_that_outlasts_the_drain_costs_its_round_and_no_work(
    make_coordinator: Make,
) -> None:
    coordinator = with_limits(make_coordinator, drain_s=0.5)
    with coordinator.worker("aws") as aws:
        plan = in_round(aws)
        with half_an_upload(aws, plan, coordinator):
            assert coordinator.process is not None
            coordinator.process.terminate()
            is_told_to_dial_again(aws)
            ends_well(coordinator)
    coordinator.start()
    with coordinator.worker("aws") as aws:
        aws.join(next_seq=1)
        abort = aws.receive_body(Abort)
        assert (abort.round, abort.reason) == (plan.round, "coordinator_restarted")
        aws.offer(nonce="cd" * 16)
        commit_round(aws)
