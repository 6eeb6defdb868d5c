"""How long workers wait for the words on which a version is believed, beside one with a slow link.

    python -m benchmarks.words            (a minute; in virtual time, so it may run beside others)

Whole masked runs in the simulation: all that runs is the production's, links are virtual. Everybody
downloads the sum, checks it, computes the step, and gives its word; a worker moves on with a of
them, its own included. So the wait is for the a-th fastest of a round, not for the slowest.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Final

from benchmarks.result import write_result
from common.documents import Algorithm, Codec, Outer, Stop
from simulator.experiment import Cloud, LearningRun
from simulator.learning import learn

PARAMETERS: Final = 500_000
FAST_BPS: Final = 10e6
SLOWER: Final = (1, 4, 20)
"""How many times slower one worker's link is."""

_COHORTS: Final = (3, 4, 5)


def waits(num_workers: int, slower: float, versions: int) -> tuple[float, float, float]:
    """Return virtual seconds: mean and longest wait of a fast worker, and time per version."""
    clouds = tuple(
        Cloud(
            name=f"w{i}",
            data={"index": i},
            steps_per_s=5.0,
            up_bps=FAST_BPS / (slower if i == 0 else 1),
            down_bps=FAST_BPS / (slower if i == 0 else 1),
        )
        for i in range(num_workers)
    )
    algorithm = Algorithm(
        policy="sync",
        codec=Codec(first_bits=8),
        outer=Outer("sgd", 1.0, 0.0),
        clipping=False,
        normalisation="uniform",
        staleness="constant",
        local_steps=5,
        min_local_steps=5,
        max_share=0.6,
    )
    run = LearningRun(
        seed=1,
        learner="simulator.learner:build",
        settings={"num_values": PARAMETERS, "num_averaged": 0},
        algorithm=replace(algorithm, max_cohort=num_workers),
        stop=Stop(versions=versions),
        clouds=clouds,
        measured={"index": 0},
    )
    with tempfile.TemporaryDirectory() as folder:
        found = learn(run, Path(folder))
    fast = [s for name, times in found.waits_s.items() if name != "w0" for s in times]
    return fmean(fast), max(fast), found.seconds / versions


def main() -> int:
    """Print the table and the result line; write the result unless it is quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer versions, no file")
    args = parser.parse_args()
    versions = 2 if args.quick else 6
    found: dict[str, float] = {}
    transfer_s = 8 * PARAMETERS / FAST_BPS
    lines = [
        f"{PARAMETERS} parameters at 8 bits: {transfer_s:.2f} s over a fast link; virtual seconds",
        "K   slow link   words: mean    most   a version takes",
    ]
    for num in _COHORTS:
        for slower in SLOWER:
            mean_s, most_s, version_s = waits(num, slower, versions)
            lines.append(f"{num}{slower:9d} x{mean_s:14.2f}{most_s:8.2f}{version_s:18.2f}")
            key = f"k{num}_slower{slower}"
            found[f"{key}_mean_s"] = round(mean_s, 3)
            found[f"{key}_most_s"] = round(most_s, 3)
            found[f"{key}_version_s"] = round(version_s, 3)
    if args.quick:
        lines.append("quick: two versions each; nothing is written")
    lines.append(f"result {' '.join(f'{k}={v}' for k, v in found.items())}")
    sys.stdout.write("\n".join(lines) + "\n")
    if not args.quick:
        write_result("words", {**found, "transfer_s": transfer_s})
    return 0


if __name__ == "__main__":
    sys.exit(main())
