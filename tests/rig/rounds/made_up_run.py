"""The folder of a run that never was: for tests of what is made from such folders."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import canonical
from common.documents import Algorithm, Genesis, Stop
from common.ids import Digest
from common.schema import ModelSchema, TensorSpec
from services.coordinator.kept.files import CoordinatorFiles

WORKERS = ("aws", "azure", "gcp", "onprem")
KINDS = {
    "up_update": 1_000_000,
    "down_aggregate": 1_000_000,
    "up_control": 20_000,
    "up_aggregate": 2_000,
    "down_update": 3_000,
    "down_control": 60_000,
}
ABORT_EVERY = 7


def write_run(
    folder: Path,
    *,
    run: str = "demo",
    workers: Sequence[str] = WORKERS,
    num_rounds: int = 20,
    tier: str = "masked",
    old: bool = False,
) -> Path:
    """Write result.json, metrics.jsonl and genesis.json; return the folder.

    Args:
        num_rounds: every seventh is aborted; a round ends every 3.3 s.
        old: as coordinators wrote them before they recorded rounds and kinds by worker.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = CoordinatorFiles(folder)
    lines, version = [], 0
    for i in range(num_rounds + 1):
        ended = []
        if i:
            aborted = i % ABORT_EVERY == 0
            version += not aborted
            ended.append(_round(i, version, workers, aborted=aborted))
        lines.append(_totals(run, tier, version, i, len(workers)) | {"time_s": 1.79e9 + 3.3 * i})
        lines[-1]["rounds"] = ended
        if old:
            del lines[-1]["rounds"], lines[-1]["float32_bytes_by_kind"]
    files.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = _totals(run, tier, version, num_rounds, len(workers))
    result["workers"] = {name: _worker(version, num_rounds, old=old) for name in workers}
    if old:
        del result["float32_bytes_by_kind"]
    files.result.write_text(json.dumps(result, indent=2))
    if not old:
        (folder / "genesis.json").write_bytes(canonical.encode(made_up_genesis(run)) + b"\n")
    return folder


def change_result(folder: Path, **changes: Any) -> None:
    """Put other values into result.json."""
    path = CoordinatorFiles(folder).result
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def made_up_genesis(run: str) -> Genesis:
    """Return a genesis that nobody could train."""
    return Genesis(
        run=run,
        seed=1,
        learner="huggingface",
        settings={"model": {"hidden_size": 96}, "batch": 12},
        schema=ModelSchema(parameters=(TensorSpec("w", (8, 8)),)),
        version0=Digest("ab" * 32),
        algorithm=Algorithm(),
        stop=Stop(versions=100),
    )


def _totals(run: str, tier: str, version: int, i: int, num_workers: int) -> dict[str, Any]:
    loss = 1.6 + 3.7 * math.exp(-version / 6)
    by_kind = {kind: n * version * num_workers for kind, n in KINDS.items()}
    by_kind["down_version"] = 2_000_000 * num_workers
    up = sum(n for kind, n in by_kind.items() if kind.startswith("up"))
    return {
        "run": run,
        "versions": version,
        "loss_nats": loss,
        "perplexity": math.exp(loss),
        "accuracy": 0.57 - 0.37 * math.exp(-version / 9),
        "evaluated_version": version,
        "seconds": round(3.3 * i, 1),
        "privacy_tier": tier,
        "rounds_aborted": i - version,
        "tokens": 110_000 * version,
        "bytes_up": up,
        "bytes_down": sum(by_kind.values()) - up,
        "bytes_by_kind": by_kind,
        "float32_bytes_by_kind": {
            "up_update": 4_000_000 * version * num_workers,
            "down_aggregate": 4_000_000 * version * num_workers,
            "down_version": 2_000_000 * num_workers,
        },
        "bytes_float32_fedavg": 8_000_000 * version * num_workers,
    }


def _round(i: int, version: int, workers: Sequence[str], *, aborted: bool) -> dict[str, Any]:
    late = workers[-1] if i % 5 == 0 and len(workers) > 3 else None
    inside = [w for w in workers if w != late]
    return {
        "round": f"{i:032x}",
        "version": version,
        "outcome": "below_threshold" if aborted else "committed",
        "detail": "members left: 2, needed: 3" if aborted else "",
        "closed_s": round(3.3 * i - 0.6, 3),
        "phases_s": {
            "share_keys": 0.27,
            "collect_masked": 0.13 + 0.1 * (i % 3),
            **({"ending": 0.05} if aborted else {"unmask": 0.03, "commit": 0.12}),
        },
        "staleness": {} if aborted else {w: round(0.1 * (i % 4), 3) for w in inside},
        "lost": list(workers) if aborted else [w for w in workers if w == late],
    }


def _worker(version: int, num_rounds: int, *, old: bool) -> dict[str, Any]:
    worker: dict[str, Any] = {
        "contributions": version,
        "tokens": 27_500 * num_rounds,
        "steps": 18 * num_rounds,
        "staleness_mean": 0.15,
        "idle_share": 0.012,
        "bytes_sent": 1_020_000 * version,
        "bytes_received": 1_060_000 * version + 2_000_000,
    }
    if not old:
        worker["bytes_by_kind"] = {
            **{kind: n * version for kind, n in KINDS.items()},
            "down_version": 2_000_000,
        }
    return worker
