"""The coordinator process from outside: commands, takeovers, restarts, and a full disk."""

import resource
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import yaml

from commands.demo.layout import COORDINATOR, OPERATOR
from common.documents import Abort, Commit, Control, Rollback
from common.errors import NotFoundError, UnexpectedMessageError
from common.ids import WorkerId
from protos.v1 import bulk_pb2, session_pb2
from services.config.settings import load_operator
from services.trust.identity import Role
from services.wire.credentials import channel_credentials
from services.wire.operator_link import NotRecordedError, OperatorLink
from tests.integration.conftest import LoneCoordinator, Make, commit_round, good_shards


def operator(coordinator: LoneCoordinator) -> OperatorLink:
    settings = load_operator(coordinator.layout.config(OPERATOR), environ={})
    creds = channel_credentials(settings.tls, settings.run, Role.OPERATOR)
    return OperatorLink(settings.coordinator, creds, timeout_s=60.0, tls=settings.tls)


def child_pid(coordinator: LoneCoordinator, module: str) -> int:
    assert coordinator.process is not None
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode().split("\0")
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended while we looked
        if parent == coordinator.process.pid and module in words:
            return int(path.name)
    raise AssertionError(f"no child runs {module}")


def test_a_newer_session_of_the_same_worker_takes_over_and_both_hear_of_it(
    make_coordinator: Make,
) -> None:
    coordinator = make_coordinator()
    with coordinator.worker("aws") as older, coordinator.worker("aws") as newer:
        older.join()
        newer.join()
        older.receive("replaced")
        newer.offer()
        commit_round(newer)
    assert coordinator.process is not None
    assert "rejoined: aws" in coordinator.layout.log(COORDINATOR).read_text()


def test_pause_holds_the_next_round_and_resume_lets_it_close(make_coordinator: Make) -> None:
    coordinator = make_coordinator()
    with coordinator.worker("aws") as aws, operator(coordinator) as link:
        aws.join()
        link.pause()
        assert aws.receive_body(Control).action == "pause"
        aws.offer()
        aws.send(heartbeat=session_pb2.Heartbeat(speed=100, offer_nonce="ab" * 16))
        pace = aws.receive("pace")
        assert (pace.paused, pace.void_offer) == (True, "")
        status = link.status()
        assert (status.state, status.version) == ("paused", 0)

        link.resume()
        commit_round(aws)


def test_stop_ends_the_run_for_everybody_and_is_in_the_log(make_coordinator: Make) -> None:
    coordinator = make_coordinator()
    with coordinator.worker("aws") as aws:
        aws.join()
        with operator(coordinator) as link:
            link.stop()
        drain = aws.receive("drain")
        assert drain.finished
        control = aws.receive_body(Control)
        assert (control.action, control.by) == ("stop", "operator")


def test_a_name_taken_off_the_list_is_sent_away_at_once(make_coordinator: Make) -> None:
    coordinator = make_coordinator()
    members = coordinator.folder / "certs" / "members.yaml"
    with coordinator.worker("aws") as aws:
        aws.join()
        listed = yaml.safe_load(members.read_text())
        listed["members"] = [m for m in listed["members"] if m["name"] != "aws"]
        members.write_text(yaml.safe_dump(listed))
        drain = aws.receive("drain")
        assert not drain.finished
        assert "off the member list" in drain.reason
    with (
        coordinator.worker("aws") as aws,
        pytest.raises(grpc.RpcError, match="not on the member list"),
    ):
        aws.join()


def test_a_name_taken_off_the_list_loses_its_open_upload(make_coordinator: Make) -> None:
    coordinator = make_coordinator()
    members = coordinator.folder / "certs" / "members.yaml"
    released = threading.Event()
    with coordinator.worker("aws") as aws:
        aws.join()
        aws.offer()
        plan = aws.receive_plan()
        aws.answer(plan)
        aws.receive("members")
        round_id, index, payload = good_shards(aws, plan)[0]

        def held() -> Iterator[bulk_pb2.Shard]:
            yield bulk_pb2.Shard(round_id=round_id, index=index, payload=payload)
            released.wait(60)

        upload = aws.shards.PushShards.future(held(), timeout=60)
        spool = coordinator.layout.coordinator.spool
        while not list(spool.glob("*/aws.part")):  # it is let in; the test's time-out is the limit
            assert not upload.done()
        listed = yaml.safe_load(members.read_text())
        listed["members"] = [m for m in listed["members"] if m["name"] != "aws"]
        members.write_text(yaml.safe_dump(listed))
        assert upload.code() is grpc.StatusCode.CANCELLED
        released.set()


def test_a_restarted_coordinator_goes_on_from_its_log(make_coordinator: Make) -> None:
    coordinator = make_coordinator()
    with coordinator.worker("aws") as aws:
        aws.join()
        aws.offer()
        commit_round(aws)
    assert coordinator.process is not None
    coordinator.process.kill()
    coordinator.start()
    with coordinator.worker("aws", boot="11" * 8) as aws:
        aws.join(next_seq=0)
        takeovers = [aws.receive_record("takeover"), aws.receive_record("takeover")]
        commit = aws.receive_record("commit")
        assert [t.epoch for t in takeovers] == [t.seq for t in takeovers]
        assert commit.version == 1
        aws.offer(version=1, digest=commit.digest, boot="11" * 8, nonce="ef" * 16)
        commit_round(aws)


def test_an_open_round_of_a_killed_coordinator_ends_by_record(make_coordinator: Make) -> None:
    coordinator = make_coordinator()
    with coordinator.worker("aws") as aws:
        aws.join()
        aws.offer()
        plan = aws.receive_plan()
        aws.answer(plan)
        aws.receive("members")
        assert coordinator.process is not None
        coordinator.process.kill()
    coordinator.start()
    with coordinator.worker("aws", boot="11" * 8) as aws:
        aws.join(next_seq=1)
        abort = aws.receive_body(Abort)
        assert (abort.round, abort.reason) == (plan.round, "coordinator_restarted")
        with pytest.raises(grpc.RpcError, match="over, or was never opened"):
            aws.push(*good_shards(aws, plan))


def test_a_full_disk_aborts_the_round_and_the_old_version_stays(make_coordinator: Make) -> None:
    coordinator = make_coordinator(settings={"width": 600})
    with coordinator.worker("aws") as aws:
        aws.join()
        commit_pid = child_pid(coordinator, "services.coordinator.commit")
        resource.prlimit(commit_pid, resource.RLIMIT_FSIZE, (2**18, resource.RLIM_INFINITY))
        aws.offer()
        plan = aws.receive_plan()
        aws.answer(plan)
        aws.receive("members")
        aws.push(*good_shards(aws, plan))
        abort = aws.receive_record("abort")
        assert abort.abort is not None
        assert abort.abort.reason == "storage_full"
        assert "free some space" in abort.abort.detail
        assert (abort.version, abort.digest) == (0, coordinator.genesis.version0)

        infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(commit_pid, resource.RLIMIT_FSIZE, infinite)
        aws.offer(nonce="cd" * 16)
        commit_round(aws)


def test_a_broken_stream_in_mid_round_gets_again_what_was_missed(make_coordinator: Make) -> None:
    coordinator = make_coordinator()
    with coordinator.worker("aws") as aws:
        aws.join()
        aws.offer()
        plan = aws.receive_plan()
    with coordinator.worker("aws") as aws:
        aws.join()
        assert aws.receive_plan() == plan
        aws.answer(plan)
        aws.receive("members")
    with coordinator.worker("aws") as aws:
        aws.join()
        members = aws.receive("members")
        assert members.round_id.hex() == plan.round
        aws.push(*good_shards(aws, plan))
        assert aws.receive_body(Commit).survivors == (WorkerId("aws"),)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"redis_url": "redis://127.0.0.1:1/0"}, "127.0.0.1:1"),
        ({"controll_port": 1}, "control_port"),
        ({"control_port": "many"}, "control_port"),
        ({"genesis": "/nowhere/genesis.json"}, "/nowhere/genesis.json"),
        ({"allowed_tiers": ["masked"]}, "allowed_tiers"),
    ],
)
def test_a_start_that_cannot_work_ends_with_one_clear_line(
    make_coordinator: Make, changes: dict[str, object], sentence: str
) -> None:
    coordinator = make_coordinator(start=False)
    coordinator.edit(COORDINATOR, **changes)
    coordinator.start(wait=False)
    assert coordinator.process is not None
    assert coordinator.process.wait(90)
    last = coordinator.process.last_lines().splitlines()[-1]
    assert coordinator.process.exit_code == 2, last
    assert last.startswith("crosscloud: ")
    assert sentence in last


def test_what_was_asked_for_and_not_recorded_is_known_as_such_to_whoever_asked(
    make_coordinator: Make,
) -> None:
    coordinator = make_coordinator()
    with coordinator.worker("aws") as aws, operator(coordinator) as link:
        aws.join()
        aws.offer()
        commit_round(aws)
        digest = link.status().digest
        aws.offer(version=1, digest=digest, nonce="cd" * 16)
        aws.receive_plan()  # a round is open, and stays so
        with pytest.raises(NotRecordedError, match="crosscloud status"):
            link.rollback(0, within_s=1.0)
        with pytest.raises(UnexpectedMessageError, match="operator asked for version 0 before"):
            link.rollback(0)
        with pytest.raises(NotRecordedError):
            link.stop(within_s=1.0)
        assert link.status().state == "stopping"

    assert coordinator.process is not None
    coordinator.process.kill()
    coordinator.start()
    with operator(coordinator) as link:
        status = link.status()
        assert (status.state, status.version) == ("running", 1)  # forgotten, as it was said
        link.rollback(0)
        assert link.status().version == 2
        link.stop()
        with pytest.raises(UnexpectedMessageError, match="the run is over"):
            link.rollback(0)


def test_a_roll_back_brings_a_version_back_whose_files_were_gone_and_outlives_a_restart(
    make_coordinator: Make,
) -> None:
    coordinator = make_coordinator()
    with coordinator.worker("aws") as aws, operator(coordinator) as link:
        aws.join()
        digest = ""
        for version in range(5):
            aws.offer(version=version, digest=digest, nonce=f"{version:032x}")
            plan = aws.receive_plan()
            aws.answer(plan)
            aws.receive("members")
            aws.push(*good_shards(aws, plan))
            commit = aws.receive_record("commit")
            digest = commit.digest
            if version == 1:
                second = commit
        with pytest.raises(NotFoundError, match=r"versions 0 to 5 are kept"):
            link.rollback(6)
        with pytest.raises(UnexpectedMessageError, match="only an earlier one"):
            link.rollback(5)
        aws.offer(version=5, digest=digest, nonce="ee" * 16)
        aws.receive_plan()  # a round is open: it ends first
        aws.send(leave=session_pb2.Leave(reason="test"))
        link.rollback(2)
        aws.receive_record("abort")
        back = aws.receive_record("rollback")
        assert (back.version, back.digest, back.counters.tokens) == (6, second.digest, 5000)
        assert back.rollback is not None
        assert replace(back.rollback, order=None) == Rollback(2, 2, "operator")
        assert back.rollback.order is not None
        assert back.rollback.order.version == 2
        request = bulk_pb2.DownloadRequest(digest=bytes.fromhex(back.digest))
        assert next(iter(aws.shards.Download(request))).total_bytes > 0
    said = coordinator.layout.log(COORDINATOR).read_text()
    for version in (6, 5):
        assert f"not rolled back: version {version}, which operator asked for: " in said
    assert "rolled back: by operator, version 2 is version 6 now" in said

    assert coordinator.process is not None
    coordinator.process.kill()
    coordinator.start()
    with coordinator.worker("aws", boot="11" * 8) as aws:
        aws.join()
        aws.offer(version=6, digest=back.digest, boot="11" * 8)
        plan = aws.receive_plan()
        assert (plan.version, plan.bits) == (6, 8)
        commit_round(aws, plan)


def test_a_run_that_is_over_tells_so_whoever_comes_later(make_coordinator: Make) -> None:
    coordinator = make_coordinator(start=False)
    members = coordinator.folder / "certs" / "members.yaml"
    listed = yaml.safe_load(members.read_text())
    listed["members"] = [m for m in listed["members"] if m["role"] != "evaluator"]
    members.write_text(yaml.safe_dump(listed))  # so that nobody's measurement is waited for
    coordinator.start()
    with operator(coordinator) as link:
        link.stop()
    assert coordinator.process is not None
    assert coordinator.process.wait(60)
    coordinator.start()
    with coordinator.worker("aws") as aws:
        aws.join()
        assert aws.receive("drain").finished
    assert coordinator.process.exit_code is None


def test_a_coordinator_that_cannot_start_lets_go_of_the_lease_and_ends(
    make_coordinator: Make,
) -> None:
    made = make_coordinator(start=False)
    host, _, port = made.layout.bulk.rpartition(":")
    with socket.create_server((host, int(port))):  # the bulk process cannot listen
        made.start(wait=False)
        assert made.process is not None
        assert made.process.wait(60), "it holds the lease for ever"
    assert made.process.exit_code == 2
