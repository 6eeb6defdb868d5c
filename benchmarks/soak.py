"""Whether a coordinator's memory grows, and how soon it answers, with 64 workers for a long time.

    python -m benchmarks.soak [--minutes 10]

One real coordinator with an embedded Valkey; 64 workers without a learner, over mutual TLS, in four
processes on the same machine, each of which offers again as soon as its round is over: a tiny model
makes for more rounds in ten minutes than a real run has in a week. Memory is anonymous (RssAnon) of
each of the coordinator's processes, after the first quarter; the slope is that of a straight line,
its noise the standard error over means of twelve stretches of the time. Latency is from sending a
heartbeat to reading the answer, the workers' own waiting for a core included.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.commit_memory import BenchFederation, family_of, memory_kib
from benchmarks.result import write_result
from common import canonical
from common.documents import Record
from services.local.layout import COORDINATOR
from tests.chaos.processes import role_of

NUM_WORKERS: Final = 64
_PROCESSES: Final = 4
_NUM_VALUES: Final = 4 * 4096
_HEARTBEAT_S: Final = 1.0
_SAMPLE_S: Final = 1.0
_STRETCHES: Final = 12
FITTED: Final = 0.75
"""Share of the time that a line is fitted to; before it a process warms up."""
_ALGORITHM: Final = {"policy": "async", "min_cohort": 3, "clipping": False}
_TIMINGS: Final = {"heartbeat_s": _HEARTBEAT_S, "first_grace_s": 0.5}
_ROLES: Final = ("control", "bulk", "commit", "valkey")


@dataclass(frozen=True, slots=True)
class Slope:
    """Of memory over time, in MiB per hour.

    Args:
        noise: standard error.
        last_mib: the mean of the last stretch.
    """

    mib_per_hour: float
    noise: float
    last_mib: float


@dataclass(frozen=True, slots=True)
class Soak:
    """What came of it.

    Args:
        slopes: by process.
        latencies_ms: p50, p95, p99 and the longest.
        rounds_per_s: committed ones.
        rounds: committed ones.
        aborts: rounds that were not.
        failed: workers that ended early, and why.
    """

    slopes: Mapping[str, Slope]
    latencies_ms: Mapping[str, float]
    rounds_per_s: float
    rounds: int
    aborts: int
    failed: Sequence[str]


def soak(folder: Path, seconds: float) -> Soak:
    """Run it.

    Args:
        folder: gets everything; missing or empty.
        seconds: of the workers' taking part.
    """
    names = [f"cloud-{i:02d}" for i in range(NUM_WORKERS)]
    federation = BenchFederation(
        folder, _NUM_VALUES, "dense", workers=names, algorithm=_ALGORITHM, timings=_TIMINGS
    )
    with federation.coordinator() as process:
        crowds = [
            subprocess.Popen(  # noqa: S603
                (
                    sys.executable, "-m", "benchmarks.crowd", str(folder), str(seconds),
                    str(_HEARTBEAT_S), *names[i::_PROCESSES],
                ),
                stdout=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
            for i in range(_PROCESSES)
        ]  # fmt: skip
        try:
            family = {role_of(pid): pid for pid in family_of(process.pid)}
            samples = _sampled({role: family[role] for role in _ROLES}, seconds)
            told = [json.loads(crowd.communicate()[0]) for crowd in crowds]
        finally:
            for crowd in crowds:
                crowd.kill()
    times_s = np.arange(len(samples)) * _SAMPLE_S
    latencies = np.array([ms for one in told for ms in one["latencies_ms"]])
    log = folder / COORDINATOR / "log"
    records = [canonical.decode(path.read_bytes(), Record) for path in log.glob("*.json")]
    commits = sum(r.commit is not None for r in records)
    marks = {f"p{p}": float(np.percentile(latencies, p)) for p in (50, 95, 99)}
    return Soak(
        slopes={role: _slope(times_s, samples[:, i]) for i, role in enumerate(_ROLES)},
        latencies_ms={**marks, "max": float(latencies.max())},
        rounds_per_s=commits / seconds,
        rounds=commits,
        aborts=sum(r.abort is not None for r in records),
        failed=[sentence for one in told for sentence in one["failed"]],
    )


def _sampled(family: Mapping[str, int], seconds: float) -> np.ndarray:
    """Return MiB of each process, float64 [samples, processes]."""
    rows, until_s = [], time.monotonic() + seconds
    next_s = time.monotonic()
    while next_s < until_s:
        rows.append([memory_kib(pid, "RssAnon") / 1024 for pid in family.values()])
        next_s += _SAMPLE_S
        time.sleep(max(0.0, next_s - time.monotonic()))
    return np.array(rows)


def _slope(times_s: np.ndarray, mib: np.ndarray) -> Slope:
    """Fit a line to the means of stretches: samples right after another are not independent."""
    begin = round((1 - FITTED) * len(times_s))
    hours = np.array([a.mean() for a in np.array_split(times_s[begin:], _STRETCHES)]) / 3600
    means = np.array([a.mean() for a in np.array_split(mib[begin:], _STRETCHES)])
    (slope, _), covariance = np.polyfit(hours, means, 1, cov=True)
    return Slope(float(slope), float(np.sqrt(covariance[0, 0])), float(means[-1]))


def main() -> int:
    """Print the table and the result line; write the result unless it is quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the soak")
    parser.add_argument("--quick", action="store_true", help="half a minute, no file")
    args = parser.parse_args()
    minutes = 0.5 if args.quick else args.minutes
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder) / "soak", 60 * minutes)
    lines = ["process    MiB at the end   MiB per hour    noise"]
    lines += [
        f"{role:10}{s.last_mib:15.1f}{s.mib_per_hour:15.2f}{s.noise:9.2f}"
        for role, s in found.slopes.items()
    ]
    lines += [f"failed: {sentence}" for sentence in found.failed]
    keys: dict[str, object] = {
        "workers": NUM_WORKERS,
        "minutes": minutes,
        "rounds": found.rounds,
        "aborts": found.aborts,
        "rounds_per_s": round(found.rounds_per_s, 2),
    }
    keys |= {f"heartbeat_ms_{k}": round(ms, 1) for k, ms in found.latencies_ms.items()}
    for role, slope in found.slopes.items():
        keys[f"{role}_mib"] = round(slope.last_mib, 1)
        keys[f"{role}_mib_per_hour"] = round(slope.mib_per_hour, 2)
        keys[f"{role}_mib_per_hour_noise"] = round(slope.noise, 2)
    if args.quick:
        lines.append("quick: too short to say anything of memory; nothing is written")
    lines.append(f"result {' '.join(f'{k}={v}' for k, v in keys.items())}")
    sys.stdout.write("\n".join(lines) + "\n")
    if not args.quick:
        write_result("soak", keys)
    return 1 if found.failed else 0


if __name__ == "__main__":
    sys.exit(main())
