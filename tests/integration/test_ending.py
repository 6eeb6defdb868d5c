"""SIGTERM at a bad moment: a real coordinator is gone within the time that it states.

Each wait is that time and a slack for a busy machine: whoever needs longer is killed, and fails.
"""

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from commands.demo.layout import COORDINATOR
from common.documents import Abort
from services.coordinator.drain import END_S
from services.coordinator.live.embedded_valkey import EmbeddedValkey
from services.process.exit_status import Exit
from tests.integration.conftest import LoneCoordinator, Make, commit_round, good_shards
from tests.integration.test_flow import Holder, in_round
from tests.rig.chaos.processes import pid_of

DRAIN_S = 1.0
SLACK_S = 20.0
PATIENCE_S = 60.0


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with EmbeddedValkey(tmp_path / "store") as server:
        yield server.url


@contextmanager
def paused(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def until(holds: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.02)


def ends_in_time(coordinator: LoneCoordinator) -> None:
    process = coordinator.process
    assert process is not None
    process.terminate()
    if not process.wait(DRAIN_S + END_S + SLACK_S):
        process.kill()
        pytest.fail(f"it did not end: {process.last_lines()}")
    assert process.exit_code == Exit.TOLD, process.last_lines()


@pytest.mark.long(
    "test_flow.py outlasts a drain with an upload; the next test has a store that hangs"
)
def test_a_commit_open_streams_and_a_store_that_does_not_answer_do_not_keep_it(
    make_coordinator: Make, redis_url: str
) -> None:
    coordinator = make_coordinator(start=False)
    limits = {"max_streams_per_member": 2}
    coordinator.edit(COORDINATOR, drain_s=DRAIN_S, redis_url=redis_url, limits=limits)
    coordinator.start()
    assert coordinator.process is not None
    with Redis.from_url(redis_url) as client:
        redis_pid = int(client.info("server")["process_id"])
    with coordinator.worker("aws") as aws, coordinator.worker("azure") as azure:
        plan = in_round(aws)
        azure.join()
        # a commit that takes long
        os.kill(pid_of(coordinator.process.pid, "commit"), signal.SIGSTOP)
        assert not aws.push(*good_shards(aws, plan)).missing
        until(lambda: (s := coordinator.status()) is not None and s.phase == "unmask")
        with Holder(azure, 2) as held:
            held.refused(azure)  # they are open
            with paused(redis_pid):
                azure.offer()  # a decision that the store does not save
                ends_in_time(coordinator)
    coordinator.start()
    with coordinator.worker("aws") as aws:
        aws.join(next_seq=1)
        abort = aws.receive_body(Abort)
        assert (abort.round, abort.reason) == (plan.round, "coordinator_restarted")
        aws.offer(nonce=secrets.token_hex(16))
        commit_round(aws)


def test_one_that_waits_for_its_store_while_it_starts_ends_too(
    make_coordinator: Make, redis_url: str
) -> None:
    with Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", "1")  # which it waits to pass
    coordinator = make_coordinator(start=False)
    coordinator.edit(COORDINATOR, drain_s=DRAIN_S, redis_url=redis_url)
    coordinator.start(wait=False)
    log = coordinator.layout.log(COORDINATOR)
    until(lambda: "waiting until it does it" in log.read_text())
    ends_in_time(coordinator)
    assert "told to end while starting" in log.read_text()
