"""How long a round takes from its Plan to its commit record, masked and in the tls tier.

A real coordinator with its children and its Valkey, mTLS, four workers' processes; one dense codec.
The tiers take turns, each round on a coordinator with nothing but version 0, so that every round of
a tier is the same work. Values are made up and lie on disk before the Plan. Not in it: training,
the fsync of a worker's frozen work (in either tier), and what follows the record.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from benchmarks.commit_memory import BenchFederation
from commands.demo.layout import COORDINATOR

WORKERS: Final = ("aws", "azure", "gcp", "onprem")
TIERS: Final = ("tls", "masked")
PHASES: Final = {"members": "agree", "encoded": "encode", "uploaded": "upload", "record": "commit"}
"""What a phase ends with -> its name; the first begins with the first worker's Plan."""

_BLOCK_VALUES: Final = 2**22


@dataclass(frozen=True, slots=True)
class TierTimes:
    """Medians over the rounds, in seconds.

    Args:
        total_s: by tier, from the first worker's Plan to the last worker's commit record.
        phase_s: by tier and phase; a phase ends with the last worker.
        ratios: masked over tls, of neighbours, ascending.
    """

    total_s: Mapping[str, float]
    phase_s: Mapping[str, Mapping[str, float]]
    ratios: tuple[float, ...]


def round_times(folder: Path, num_values: int, num_pairs: int, num_before: int) -> TierTimes:
    """Play rounds of both tiers in turn.

    Args:
        folder: where 20 bytes per value and worker may lie for a while.
        num_values: of the model.
        num_pairs: rounds of each tier that count.
        num_before: of each tier before those, for warming up.
    """
    federations = {
        tier: BenchFederation(
            folder / tier, num_values, "dense", workers=WORKERS, algorithm={"tier": tier}
        )
        for tier in TIERS
    }
    length = federations[TIERS[0]].genesis.schema.length  # whole blocks
    for i, worker in enumerate(WORKERS):
        (folder / worker).mkdir()
        _make_up(folder / worker / "theta.f32", length, 0.01, seed=2 * i)
        _make_up(folder / worker / "former.f32", length, 1e-4, seed=2 * i + 1)
    played: dict[str, list[Mapping[str, float]]] = {tier: [] for tier in TIERS}
    for pair in range(num_before + num_pairs):
        for tier in TIERS if pair % 2 else reversed(TIERS):
            played[tier].append(_play(federations[tier], folder))
    counted = {tier: rounds[num_before:] for tier, rounds in played.items()}
    totals = {tier: [sum(r.values()) for r in rounds] for tier, rounds in counted.items()}
    pairs = zip(totals["masked"], totals["tls"], strict=True)
    return TierTimes(
        total_s={tier: median(found) for tier, found in totals.items()},
        phase_s={
            tier: {p: median(r[p] for r in rounds) for p in PHASES.values()}
            for tier, rounds in counted.items()
        },
        ratios=tuple(sorted(masked / tls for masked, tls in pairs)),
    )


def _play(federation: BenchFederation, folder: Path) -> Mapping[str, float]:
    """Play one round on a fresh coordinator; return the seconds of each phase."""
    shutil.rmtree(federation.layout.state(COORDINATOR), ignore_errors=True)
    with federation.coordinator():
        members = [
            subprocess.Popen(  # noqa: S603
                (
                    *(sys.executable, "-m", "benchmarks.round_member"),
                    *(federation.layout.config(worker), folder / worker),
                ),
                stdout=subprocess.PIPE,
                text=True,
            )
            for worker in WORKERS
        ]
        outputs = [process.communicate()[0] for process in members]
    if any(process.returncode for process in members):
        raise SystemExit("a worker failed: see above")
    marks = [json.loads(output) for output in outputs]
    before_s, phases = min(m["plan"] for m in marks), {}
    for mark, phase in PHASES.items():
        end_s = max(m[mark] for m in marks)
        phases[phase], before_s = end_s - before_s, end_s
    return phases


def _make_up(path: Path, num_values: int, deviation: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    with path.open("wb") as file:
        for start in range(0, num_values, _BLOCK_VALUES):
            num = min(_BLOCK_VALUES, num_values - start)
            values = draw.standard_normal(num, np.float32) * np.float32(deviation)
            file.write(values.tobytes())
