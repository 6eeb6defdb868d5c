"""Whether a coordinator's memory grows, and how soon it answers, with 64 workers for a long time.

    python -m benchmarks.soak [--minutes 10] [--tier masked]

One real coordinator with an embedded Valkey; 64 workers without a learner, over mutual TLS, in four
processes on the same machine, each of which offers again as soon as its round is over: a tiny model
makes for more rounds in ten minutes than a real run has in a week. Latency is from sending a
heartbeat to reading the answer, the workers' own waiting for a core included.

Memory is told apart by who can have lost it, after a quarter of the rounds, per round, each with
its standard error (`slope.py`):

    small   objects of up to 512 bytes that somebody holds, to the byte (`inside/sitecustomize.py`)
    large   blocks of malloc that somebody holds: gRPC's, numpy's, Python's larger ones; of Valkey,
            what it says that it uses
    pages   anonymous memory (RssAnon), which is what a machine has to have

Pages go on growing where nothing is lost, for some thousands of rounds: the interpreter's table of
names doubles once (1 MiB), its lists of free tuples and its cache of methods fill, malloc's arenas
find their size.
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
from typing import Any, Final

import numpy as np
from redis import Redis

from benchmarks.commit_memory import BenchFederation, family_of, memory_kib
from benchmarks.result import write_result
from benchmarks.slope import F64, Slope, slope
from commands.demo.layout import COORDINATOR
from common import canonical
from common.documents import Record
from services.coordinator.kept.files import CoordinatorFiles
from services.coordinator.live.embedded_valkey import short_socket
from tests.rig.chaos.processes import role_of

NUM_WORKERS: Final = 64
_PROCESSES: Final = 4
_NUM_VALUES: Final = 4 * 4096
_HEARTBEAT_S: Final = 1.0
_SAMPLE_S: Final = 1.0
FITTED: Final = 0.75
"""Share of the rounds that a line is fitted to; before it a process warms up."""
_ALGORITHM: Final = {"policy": "async", "min_cohort": 3, "clipping": False}
_TIMINGS: Final = {"heartbeat_s": _HEARTBEAT_S, "first_grace_s": 0.5}
VALKEY: Final = "valkey"
ROLES: Final = ("control", "bulk", "commit", VALKEY)
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one process, in bytes and per round; see the module docstring. Valkey has no `small`."""

    small: Slope | None
    large: Slope
    pages: Slope

    @property
    def held(self) -> tuple[Slope, ...]:
        """What somebody holds."""
        return (self.large,) if self.small is None else (self.small, self.large)


@dataclass(frozen=True, slots=True)
class Soak:
    """What came of it.

    Args:
        memory: by process.
        latencies_ms: p50, p95, p99 and the longest.
        rounds_per_s: committed ones.
        rounds: committed ones.
        aborts: rounds that were not.
        failed: workers that ended early, and why.
    """

    memory: Mapping[str, Memory]
    latencies_ms: Mapping[str, float]
    rounds_per_s: float
    rounds: int
    aborts: int
    failed: Sequence[str]


def soak(folder: Path, seconds: float, tier: str = "masked") -> Soak:
    """Run it.

    Args:
        folder: gets everything; missing or empty.
        seconds: of the workers' taking part.
        tier: "masked" or "tls".
    """
    names = [f"cloud-{i:02d}" for i in range(NUM_WORKERS)]
    algorithm = {**_ALGORITHM, "tier": tier}
    federation = BenchFederation(
        folder, _NUM_VALUES, "dense", workers=names, algorithm=algorithm, timings=_TIMINGS
    )
    heap = folder / "heap"
    heap.mkdir()
    with federation.coordinator(heap) as process:
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
            files = CoordinatorFiles(folder / COORDINATOR)
            samples = _sampled({role: family[role] for role in ROLES}, files, seconds, crowds)
            told = [_told(crowd) for crowd in crowds]
        finally:
            for crowd in crowds:
                crowd.kill()
    latencies = np.array([ms for one in told for ms in one["latencies_ms"]])
    records = [canonical.decode(path.read_bytes(), Record) for path in files.log.glob("*.json")]
    commits = sum(r.commit is not None for r in records)
    marks = {f"p{p}": float(np.percentile(latencies, p)) for p in (50, 95, 99)}
    return Soak(
        memory=_memory({role: heap / str(family[role]) for role in ROLES}, samples),
        latencies_ms={**marks, "max": float(latencies.max())},
        rounds_per_s=commits / seconds,
        rounds=commits,
        aborts=sum(r.abort is not None for r in records),
        failed=[sentence for one in told for sentence in one["failed"]],
    )


def _told(crowd: subprocess.Popen[bytes]) -> Mapping[str, list[Any]]:
    """Return what a process of workers has to say at its end."""
    output, _ = crowd.communicate()
    if crowd.returncode:
        failed = [f"process {crowd.pid} of workers ended with {crowd.returncode}"]
        return {"latencies_ms": [float("nan")], "failed": failed}
    said: Mapping[str, list[Any]] = json.loads(output)
    return said


@dataclass(frozen=True, slots=True)
class _Samples:
    """What can be seen from outside; float64 [samples] each, `pages` by process.

    Args:
        times_s: of the system's monotonic clock.
        rounds: records in the log: all but a few are of rounds.
        valkey: bytes that it says it uses.
        pages: RssAnon in bytes.
    """

    times_s: F64
    rounds: F64
    valkey: F64
    pages: Mapping[str, F64]


def _sampled(
    family: Mapping[str, int],
    files: CoordinatorFiles,
    seconds: float,
    crowds: Sequence[subprocess.Popen[bytes]],
) -> _Samples:
    """Look once a second; shorter where the workers end before their time, which is told later."""
    rows: list[list[float]] = []
    next_s = time.monotonic()
    until_s = next_s + seconds
    with short_socket(files.valkey) as path, Redis(unix_socket_path=str(path)) as valkey:
        while time.monotonic() < until_s and all(crowd.poll() is None for crowd in crowds):
            pages = [1024.0 * memory_kib(pid, "RssAnon") for pid in family.values()]
            num_records, used = len(os.listdir(files.log)), valkey.info("memory")["used_memory"]
            rows.append([time.monotonic(), num_records, used, *pages])
            next_s += _SAMPLE_S
            time.sleep(max(0.0, next_s - time.monotonic()))
    columns: list[F64] = list(np.array(rows, np.float64).T)
    pages_of = dict(zip(family, columns[3:], strict=True))
    return _Samples(columns[0], columns[1], columns[2], pages_of)


def _memory(told: Mapping[str, Path], samples: _Samples) -> Mapping[str, Memory]:
    """Fit everything.

    Args:
        told: by process, the file of what it said from inside.
    """

    def fitted(times_s: F64, readings: F64) -> Slope:
        rounds = np.interp(times_s, samples.times_s, samples.rounds)
        warm = rounds >= (1 - FITTED) * samples.rounds[-1]
        return slope(rounds[warm], readings[warm])

    found: dict[str, Memory] = {}
    for role in ROLES:
        pages = fitted(samples.times_s, samples.pages[role])
        if role == VALKEY:
            found[role] = Memory(None, fitted(samples.times_s, samples.valkey), pages)
            continue
        lines = told[role].read_text(encoding="ascii").splitlines()
        times_s, small, large = np.array([json.loads(line) for line in lines], np.float64).T
        seen = times_s <= samples.times_s[-1]  # while the workers took part
        objects = [fitted(times_s[seen], readings[seen]) for readings in (small, large)]
        found[role] = Memory(objects[0], objects[1], pages)
    return found


def main() -> int:
    """Print the table and the result line; write the result unless it is quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the soak")
    parser.add_argument("--tier", choices=("masked", "tls"), default="masked")
    parser.add_argument("--quick", action="store_true", help="half a minute, no file")
    args = parser.parse_args()
    minutes = 0.5 if args.quick else args.minutes
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder) / "soak", 60 * minutes, args.tier)
    per_hour = 3600 * found.rounds_per_s / _MIB
    lines = [
        "process   pages at the end  pages, MiB per hour   small, B per round   large, B per round"
    ]
    keys: dict[str, object] = {
        "workers": NUM_WORKERS,
        "tier": args.tier,
        "minutes": minutes,
        "rounds": found.rounds,
        "aborts": found.aborts,
        "rounds_per_s": round(found.rounds_per_s, 2),
    }
    keys |= {f"heartbeat_ms_{k}": round(ms, 1) for k, ms in found.latencies_ms.items()}
    for role, m in found.memory.items():
        pages = (per_hour * m.pages.per_round, per_hour * m.pages.noise)
        keys[f"{role}_mib"] = round(m.pages.last / _MIB, 1)
        keys[f"{role}_mib_per_hour"] = round(pages[0], 2)
        keys[f"{role}_mib_per_hour_noise"] = round(pages[1], 2)
        keys[f"{role}_step_mib"] = round(m.pages.step / _MIB, 2)
        columns = [f"{role:9}{m.pages.last / _MIB:13.1f}", _column(*pages)]
        for kind, held in (("small", m.small), ("large", m.large)):
            columns.append(" " * 21 if held is None else _column(held.per_round, held.noise))
            if held is not None:
                keys[f"{role}_{kind}_bytes_per_round"] = round(held.per_round, 1)
                keys[f"{role}_{kind}_bytes_per_round_noise"] = round(held.noise, 1)
        lines.append("".join(columns).rstrip())
    lines += [f"failed: {sentence}" for sentence in found.failed]
    if args.quick:
        lines.append("quick: too short to say anything of memory; nothing is written")
    lines.append(f"result {' '.join(f'{k}={v}' for k, v in keys.items())}")
    sys.stdout.write("\n".join(lines) + "\n")
    if not args.quick:
        write_result("soak", keys)
    return 1 if found.failed else 0


def _column(per_unit: float, noise: float) -> str:
    return f"{per_unit:12.1f} +- {noise:5.1f}"


if __name__ == "__main__":
    sys.exit(main())
