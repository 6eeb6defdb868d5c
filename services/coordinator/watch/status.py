"""The run's status for operators and result files: the core's picture and workers' reports."""

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common import canonical
from common.documents import Genesis
from common.progress import progress
from coordinator.status import Status
from protos.v1 import operator_pb2
from services.coordinator.watch.reports import Reports, bytes_by_kind
from services.disk.files import Draft, storage_errors
from services.observe.privacy import PRIVACY


class StatusSource:
    """See the module docstring.

    Args:
        read_core: returns the core's status now.
        read_outage: returns a sentence on the store that does not answer; "" while it does.
    """

    def __init__(
        self,
        genesis: Genesis,
        read_core: Callable[[], Status],
        reports: Reports,
        read_outage: Callable[[], str],
    ) -> None:
        self._genesis = genesis
        self._read_core = read_core
        self._reports = reports
        self._read_outage = read_outage

    def read(self) -> operator_pb2.GetStatusResponse:
        """Return what GetStatus answers."""
        core, reports = self._read_core(), self._reports
        tokens, hours = core.counters.tokens, core.elapsed_s / 3600
        e = core.evaluation
        return operator_pb2.GetStatusResponse(
            run=self._genesis.run,
            state=core.state,
            version=core.version,
            digest=bytes.fromhex(core.digest),
            num_records=core.num_records,
            progress=max(core.progress, progress(self._genesis, core.version, tokens, hours)),
            seconds=core.elapsed_s,
            phase=core.phase,
            waiting_for=core.waiting_for,
            privacy=PRIVACY[self._genesis.algorithm.tier],
            evaluation=b"" if e is None else canonical.encode(e),
            counters=canonical.encode(core.counters),
            workers=[
                operator_pb2.WorkerStatus(
                    name=w.worker,
                    live=w.live,
                    silent_s=w.silent_s,
                    version=w.version,
                    staleness=w.mean_staleness,
                    steps_per_s=reports.of(w.worker).last.steps_per_s,
                    tokens=reports.of(w.worker).total.tokens_total,
                    steps=reports.of(w.worker).total.steps_total,
                    contributions=w.contributions,
                    bytes_sent=sum(reports.of(w.worker).total.bytes_sent.values()),
                    bytes_received=sum(reports.of(w.worker).total.bytes_received.values()),
                    idle_share=reports.of(w.worker).last.idle_share,
                    state=w.state,
                    pending_steps=w.pending_steps,
                )
                for w in core.workers
            ],
            aborts=core.num_aborts,
            bytes_up=reports.bytes_up(),
            bytes_down=reports.bytes_down(),
            bytes_by_kind=reports.bytes_by_kind(),
            float32_bytes=core.counters.float32_bytes,
            outage=self._read_outage(),
        )

    def result(self) -> dict[str, Any]:
        """Return the run's result, as `result.json` holds it. Bytes as the workers counted them."""
        core, reports = self._read_core(), self._reports
        e, counters = core.evaluation, core.counters
        return {
            "run": self._genesis.run,
            "versions": core.version,
            "loss_nats": e.loss if e else None,
            "perplexity": e.perplexity if e else None,
            "accuracy": e.accuracy if e else None,
            "evaluated_version": e.version if e else None,
            "seconds": round(core.elapsed_s, 1),
            "privacy_tier": self._genesis.algorithm.tier,
            "rounds_aborted": core.num_aborts,
            "tokens": counters.tokens,
            "bytes_up": reports.bytes_up(),
            "bytes_down": reports.bytes_down(),
            "bytes_by_kind": reports.bytes_by_kind(),
            "float32_bytes_by_kind": reports.float32_bytes_by_kind(),
            # FedAvg moves float32 both ways for each contribution
            "bytes_float32_fedavg": 2 * counters.float32_bytes,
            "workers": {
                w.worker: {
                    "contributions": w.contributions,
                    "tokens": reports.of(w.worker).total.tokens_total,
                    "steps": reports.of(w.worker).total.steps_total,
                    "staleness_mean": round(w.mean_staleness, 3),
                    "idle_share": round(reports.of(w.worker).last.idle_share, 4),
                    "bytes_sent": sum(reports.of(w.worker).total.bytes_sent.values()),
                    "bytes_received": sum(reports.of(w.worker).total.bytes_received.values()),
                    "bytes_by_kind": bytes_by_kind(reports.of(w.worker).total),
                }
                for w in core.workers
            },
        }

    def line(self, time_s: float, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return one line of `metrics.jsonl`.

        Args:
            time_s: Unix time, for people only.
            rounds: that ended since the line before.
        """
        result = self.result()
        result.pop("workers")
        return {"time_s": round(time_s, 3), **result, "rounds": rounds}


class MetricsFile:
    """`metrics.jsonl`, to be appended to. What a kill has torn off stays a line of its own."""

    def __init__(self, path: Path) -> None:
        with storage_errors(f"cannot write {path}"):
            self._lines = path.open("ab+")
        end = self._lines.seek(0, os.SEEK_END)
        self._lines.seek(max(0, end - 1))
        if end and self._lines.read(1) != b"\n":
            self._lines.write(b"\n")

    def append(self, line: Mapping[str, Any]) -> None:
        """Write one line. A full disk is no error: the log is what must not fail."""
        with contextlib.suppress(OSError):
            self._lines.write(json.dumps(line).encode() + b"\n")
            self._lines.flush()

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._lines.close()


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write `result.json`, whole or not at all."""
    with Draft(path.parent, path.stem) as draft:
        draft.append(json.dumps(result, indent=2).encode() + b"\n")
        draft.rename(path)
