"""A slow link that breaks in the middle of an upload: what has arrived is not sent again."""

import secrets
import threading
import time
from collections.abc import Iterator

import pytest

from benchmarks.made_up_payload import MadeUpPayload
from common.shards import SHARD_BYTES
from tests.integration.conftest import LoneCoordinator, lay_out
from tests.rig.links.line import Line
from tests.rig.workers.light_worker import LightWorker

NAME = "aws"
RATE_BPS = 20_000_000
NUM_VALUES = 4_000_000  # one byte each
CUT_S = 0.5
FRAMING = 1.01  # TLS, HTTP/2, the messages' heads
HANDSHAKE_BYTES = 32_768
IN_FLIGHT_BYTES = 2 * 65_536  # that the systems on both sides of the line had taken


class Upload:
    """One worker's update on its way over a slow line, in a thread."""

    def __init__(self, made: LoneCoordinator, worker: LightWorker, line: Line) -> None:
        self._worker, self._line = worker, line
        at = made.status()
        assert at is not None
        self._next_version = at.version + 1
        worker.join(version=at.version, digest=bytes.fromhex(at.digest))
        worker.offer(at.version, at.digest, nonce=secrets.token_hex(16))
        plan = worker.receive_plan()
        worker.answer(plan)
        worker.receive("members")
        self.layout = worker.layout(plan)
        payload = MadeUpPayload(self.layout, "dense", num_members=1, v=65535)
        self._thread = threading.Thread(target=worker.upload, args=(plan, payload.read_shard))
        self._thread.start()

    def wait_for_half(self) -> None:
        while self._line.taken_bytes < self.layout.sent_bytes / 2:
            assert self._thread.is_alive(), "the upload ended early"
            time.sleep(0.005)

    def wait_for_end(self) -> None:
        while self._worker.receive_record("commit").version != self._next_version:
            pass
        self._thread.join()


@pytest.fixture(scope="module")
def slow_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneCoordinator]:
    made = lay_out(
        tmp_path_factory.mktemp("slow") / "run",
        learner="benchmarks.zeros:build",
        settings={"values": NUM_VALUES},
        algorithm={
            "tier": "tls",
            "min_cohort": 1,
            "codec": {"kind": "dense", "bits": 8, "first_bits": 8},
        },
    )
    made.start()
    yield made
    made.stop()


@pytest.fixture
def line_and_upload(slow_run: LoneCoordinator) -> Iterator[tuple[Line, Upload]]:
    """A slow line, and an upload over it that has begun."""
    with (
        Line(slow_run.layout.bulk, rate_bps=RATE_BPS) as line,
        slow_run.worker(NAME, bulk=line.address) as worker,
    ):
        yield line, Upload(slow_run, worker, line)


def test_a_link_that_stops_and_goes_on_carries_every_byte_once(
    line_and_upload: tuple[Line, Upload],
) -> None:
    line, upload = line_and_upload
    upload.wait_for_half()
    line.stall()
    time.sleep(CUT_S)
    line.heal()
    upload.wait_for_end()
    assert line.num_connections == 1
    assert line.taken_bytes <= FRAMING * upload.layout.sent_bytes + HANDSHAKE_BYTES


def test_a_link_that_breaks_costs_the_shard_that_was_on_its_way_and_no_more(
    line_and_upload: tuple[Line, Upload],
) -> None:
    line, upload = line_and_upload
    upload.wait_for_half()
    line.cut()
    time.sleep(CUT_S)
    line.heal()
    upload.wait_for_end()
    again = line.taken_bytes - FRAMING * upload.layout.sent_bytes
    assert line.num_connections >= 2
    assert again <= SHARD_BYTES + IN_FLIGHT_BYTES + line.num_connections * HANDSHAKE_BYTES


def test_a_worker_whose_old_stream_hangs_at_the_coordinator_goes_on_at_once(
    line_and_upload: tuple[Line, Upload],
) -> None:
    line, upload = line_and_upload
    upload.wait_for_half()
    line.forget()  # the coordinator is not told
    upload.wait_for_end()
    again = line.taken_bytes - FRAMING * upload.layout.sent_bytes
    assert again <= SHARD_BYTES + IN_FLIGHT_BYTES + line.num_connections * HANDSHAKE_BYTES
