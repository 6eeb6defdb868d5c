"""One upload through the real bulk process over a narrow link that is cut in the middle."""

import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.commit_memory import WORKERS, BenchFederation
from benchmarks.upload_speed import bulk_process
from common.ids import RoundId, WorkerId
from common.shards import PayloadLayout
from coordinator.ports import DropSpool, OpenSpool, Uploaded
from services.wire.child import Line
from tests.rig.links.narrow_link import HERE, NarrowLink, Sent, narrow_link
from tests.rig.links.toxiproxy import ToxicLine, toxiproxy

Faults = tuple[Callable[[], None], Callable[[], None]]
"""What begins the cut, and what ends it."""


@dataclass(frozen=True, slots=True)
class UploadCost:
    """Of one upload.

    Args:
        seconds: that it took.
        sent: what its side of the link sent, by the system's count.
        payload_bytes: of the update.
    """

    seconds: float
    sent: Sent
    payload_bytes: int

    @property
    def ratio(self) -> float:
        """Bytes that TCP sent, over those of the update."""
        return self.sent.tcp_bytes / self.payload_bytes


class CutUploads:
    """Uploads of one size over one link. Made by `cut_uploads`."""

    def __init__(
        self, link: NarrowLink, toxic: ToxicLine | None, line: Line, port: int, num_values: int
    ) -> None:
        self._link, self._toxic, self._line, self._port = link, toxic, line, port
        self._num_values = num_values

    def whole(self) -> UploadCost:
        """Upload without a cut."""
        return self._upload(f"{HERE}:{self._port}", None, 0.0)

    def cut(self, cut_s: float) -> UploadCost:
        """Upload while the link goes dark for `cut_s` in the middle."""
        return self._upload(f"{HERE}:{self._port}", (self._link.cut, self._link.heal), cut_s)

    def reset(self, cut_s: float) -> UploadCost:
        """Upload while every connection is reset for `cut_s` in the middle."""
        assert self._toxic is not None
        return self._upload(self._toxic.address, (self._toxic.reset, self._toxic.heal), cut_s)

    def _upload(self, target: str, faults: Faults | None, cut_s: float) -> UploadCost:
        round_id = RoundId(secrets.token_hex(16))
        worker = WorkerId(WORKERS[0])
        layout = PayloadLayout(self._num_values, 8)
        self._line.send(OpenSpool(round_id, (worker,), 8, 0))
        before = self._link.sent()
        command = self._link.inside(
            sys.executable, "-m", "benchmarks.uploader", target, str(self._certs), worker,
            round_id, str(self._num_values),
        )  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
        assert process.stdout is not None
        with process:
            if faults is not None:
                half = before.wire_bytes + layout.sent_bytes // 2
                while self._link.sent().wire_bytes < half:
                    assert process.poll() is None, "the upload ended early"
                    time.sleep(0.02)
                begin, end = faults
                begin()
                time.sleep(cut_s)
                end()
            took_s = float(process.stdout.readline())
        while not isinstance(self._line.receive(), Uploaded):
            pass
        after = self._link.sent()
        self._line.send(DropSpool(round_id))
        sent = Sent(after.wire_bytes - before.wire_bytes, after.packets - before.packets)
        return UploadCost(took_s, sent, layout.sent_bytes)

    _certs: Path


@contextmanager
def cut_uploads(
    folder: Path, num_values: int, rate_bps: int, *, resets: bool
) -> Iterator[CutUploads]:
    """Set link and bulk process up.

    Args:
        folder: gets everything.
        num_values: of an update, one byte each.
        rate_bps: of the link, bits per second.
        resets: whether toxiproxy is there for `reset`.
    """
    federation = BenchFederation(folder, num_values, "dense")
    settings = yaml.safe_load(federation.config.read_text())
    with ExitStack() as stack:
        link = stack.enter_context(narrow_link(rate_bps))
        federation.config.write_text(yaml.safe_dump({**settings, "host": HERE}))
        line, port = stack.enter_context(bulk_process(federation.config))
        toxic = None
        if resets:
            toxic = stack.enter_context(toxiproxy()).line(f"{HERE}:{port}", HERE)
        made = CutUploads(link, toxic, line, port, federation.genesis.schema.length)
        made._certs = federation.certs
        yield made
