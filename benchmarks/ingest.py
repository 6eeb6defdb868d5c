"""What an update costs the coordinator: speed of the upload, memory, seconds of the commit.

    python -m benchmarks.ingest

Upload: one worker's update through the real bulk process (mTLS, spool, xxh3, fsync) against a bare
grpcio stream over the same TLS: the median of the ratios of neighbours, from uploads that take
turns. The rungs between them say where the rest goes: to the page cache and the disk. Within the
bulk process splitting a message, xxh3 and counting take 5 % of an upload, writing 15 to 20 %.

Memory: three workers upload at once, then the commit. Updates of the codec float32, so that an
update of 1 GB has 1 GB on the wire. The sum of all processes' own peaks, above idle: more than they
ever had at one time. The commit is timed from the last worker's last byte to the record; its key is
of the default 8-bit codec. GB are 10**9 bytes of the model's float32.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.bare_stream import RUNGS
from benchmarks.commit_memory import WORKERS, BenchFederation, CommitCost
from benchmarks.result import write_result
from benchmarks.upload_speed import upload_speeds

_SIZES: Final = (250_000_000, 1_000_000_000)
_QUICK_SIZES: Final = (25_000_000, 100_000_000)


def main() -> int:
    """Print the tables and the result line; write the result unless it is quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="uploads of each kind")
    parser.add_argument("--folder", type=Path, help="where 12 GB may lie for a while")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size, no file")
    args = parser.parse_args()
    small, large = _QUICK_SIZES if args.quick else _SIZES
    num_repeats = 3 if args.quick else args.repeats
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        root = Path(name)
        dense = BenchFederation(root / "dense", large // 4, "dense")
        speeds = upload_speeds(
            dense.genesis,
            dense.config,
            dense.certs,
            WORKERS[0],
            dense.credentials(WORKERS[0]),
            num_repeats,
        )
        costs = {("dense, 8 bits", large // 4): dense.round_cost()}
        shutil.rmtree(root / "dense")
        for size in (small, large):
            federation = BenchFederation(root / str(size), size // 4, "float32")
            costs["float32", size] = federation.round_cost()
            shutil.rmtree(root / str(size))

    dense_cost = costs["dense, 8 bits", large // 4]
    _print_speeds(speeds.gb_per_s)
    low, high = speeds.ratios[0], speeds.ratios[-1]
    print(f"bulk process / bare stream: {speeds.ratio_to_bare:.2f} ({low:.2f} to {high:.2f})")
    _print_costs(costs)
    found = {
        "ratio_to_bare": speeds.ratio_to_bare,
        "peak_mib_250mb": costs["float32", small].peak_mib,
        "peak_mib_1gb": costs["float32", large].peak_mib,
        "commit_s_per_gb": _per_gb(dense_cost),
    }
    if args.quick:
        print("quick: a tenth of the sizes that the keys say; nothing is written")
    print("result", *(f"{k}={v:.3f}" for k, v in found.items()))
    if not args.quick:
        more = {
            "upload_gb_per_s": speeds.gb_per_s,
            "ratios_to_bare": speeds.ratios,
            "commit_s_per_gb_float32": _per_gb(costs["float32", large]),
            "commit_cpu_s_per_gb": dense_cost.commit_cpu_s / dense_cost.gigabytes,
            "peak_mib_dense": dense_cost.peak_mib,
        }
        write_result("ingest", {**found, **more})
    return 0


def _per_gb(cost: CommitCost) -> float:
    return cost.commit_s / cost.gigabytes


def _print_speeds(speeds: Mapping[str, float]) -> None:
    print("upload             GB/s   s per GB   more than the row before")
    before = 0.0
    labels = dict(zip(RUNGS, ("bare stream", "+ xxh3", "+ write", "+ fsync"), strict=True))
    for row, speed in speeds.items():
        label = labels.get(row, "bulk process")
        print(f"{label:16}{speed:7.2f}{1 / speed:11.2f}{1 / speed - before:+12.2f}")
        before = 1 / speed


def _print_costs(costs: dict[tuple[str, int], CommitCost]) -> None:
    print("three updates          MB each   peak MiB   commit s   CPU s   s per GB of float32")
    for (codec, size), cost in costs.items():
        print(
            f"{codec:20}{size / 1e6:10.0f}{cost.peak_mib:11.0f}{cost.commit_s:11.2f}"
            f"{cost.commit_cpu_s:8.2f}"
            f"{_per_gb(cost):12.2f}"
        )


if __name__ == "__main__":
    sys.exit(main())
