"""How fast the bulk process takes an upload, against a bare stream of the same bytes."""

import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Event
from typing import Final

import grpc

from benchmarks.bare_stream import RUNGS
from benchmarks.made_up_payload import MadeUpPayload
from common.documents import Genesis
from common.ids import RoundId, WorkerId
from common.shards import PayloadLayout
from coordinator.ports import DropSpool, OpenSpool, Seal, Sealed
from services.config.settings import load_coordinator
from services.coordinator import bulk
from services.coordinator.messages import Serving
from services.wire import framing
from services.wire.bulk_link import BulkLink
from services.wire.child import Line

SERVICE: Final = "service"
"""The row of the real bulk process, after those of `RUNGS`."""


@dataclass(frozen=True, slots=True)
class UploadSpeeds:
    """How fast uploads were.

    Args:
        gb_per_s: median of each row.
        ratio_to_bare: median over the repeats of the service's speed over that of the bare stream,
            both taken within the same few seconds.
        ratios: of each repeat, ascending.
    """

    gb_per_s: Mapping[str, float]
    ratio_to_bare: float
    ratios: tuple[float, ...]


def upload_speeds(
    genesis: Genesis,
    config: Path,
    certs: Path,
    worker: str,
    credentials: grpc.ChannelCredentials,
    num_repeats: int,
) -> UploadSpeeds:
    """Return the speed of every rung and of the service.

    All take turns, in one order and then in the other, so that a slow minute of the machine is
    everybody's.

    Args:
        genesis: of a run whose updates are large; 8-bit.
        config: coordinator.yaml of that run; nothing else of it runs.
        certs: folder of certificates.
        worker: who uploads.
        credentials: of that worker.
        num_repeats: uploads of each row.
    """
    layout = PayloadLayout(genesis.schema.length, 8)
    payload = MadeUpPayload(layout, "dense", num_members=1, v=65535)
    shards = [payload.read_shard(i) for i in range(layout.num_shards)]
    messages = [framing.shard(bytes(16), i, s) for i, s in enumerate(shards)]
    took_s: dict[str, list[float]] = {row: [] for row in (*RUNGS, SERVICE)}
    with ExitStack() as stack:
        port = stack.enter_context(_bare_server(certs, config.parent / "bare.tmp"))
        channel = stack.enter_context(grpc.secure_channel(f"127.0.0.1:{port}", credentials))
        send = {rung: channel.stream_unary(f"/bare/{rung}", None, None) for rung in RUNGS}
        line, bulk_port = stack.enter_context(bulk_process(config))
        spool = load_coordinator(config).data_dir / "spool"
        never = Event()
        link = BulkLink(grpc.secure_channel(f"127.0.0.1:{bulk_port}", credentials), never)
        stack.callback(link.close)

        def upload(row: str) -> float:
            if row in send:
                return _timed(lambda: send[row](iter(messages)))
            round_id = RoundId(secrets.token_hex(16))
            line.send(OpenSpool(round_id, (WorkerId(worker),), 8, 0))
            while not (spool / round_id).is_dir():  # there is no answer
                time.sleep(0.01)
            took = _timed(
                lambda: link.push(round_id, layout.num_shards, shards.__getitem__, give_up=never)
            )
            line.send(Seal(round_id))
            while not isinstance(sealed := line.receive(), Sealed):
                pass
            assert sealed.survivors == (worker,)
            line.send(DropSpool(round_id))
            return took

        rows = [*RUNGS[1:], RUNGS[0], SERVICE]  # the two that are compared are neighbours
        for row in rows:
            upload(row)  # for warming up
        for repeat in range(num_repeats):
            for row in rows if repeat % 2 else reversed(rows):
                took_s[row].append(upload(row))
    pairs = zip(took_s[RUNGS[0]], took_s[SERVICE], strict=True)
    ratios = tuple(sorted(bare / service for bare, service in pairs))
    speeds = {row: layout.sent_bytes / 1e9 / median(times) for row, times in took_s.items()}
    return UploadSpeeds(speeds, median(ratios), ratios)


def _timed(work: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


@contextmanager
def _bare_server(certs: Path, file: Path) -> Iterator[int]:
    command = [sys.executable, "-m", "benchmarks.bare_stream", str(certs), str(file)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
    file.unlink(missing_ok=True)


@contextmanager
def bulk_process(config: Path) -> Iterator[tuple[Line, int]]:
    """Run the bulk process alone; yield control's end of its line, and its port."""
    ours, theirs = socket.socketpair()
    with theirs:
        fd = theirs.fileno()
        command = [sys.executable, "-m", bulk.__name__, "--fd", str(fd), str(config)]
        process = subprocess.Popen(command, pass_fds=(fd,))  # noqa: S603
    line = Line(ours.detach(), bulk.SENDS)
    with process:
        serving = line.receive()
        assert isinstance(serving, Serving)
        try:
            yield line, serving.port
        finally:
            line.close()
