"""Whether killing anything at any moment loses anything, and how soon the coordinator is back.

    python -m benchmarks.chaos [--faults 204] [--seed 11]        or: make chaos

Kills, pauses and network cuts on a federation of real processes over mutual TLS and an embedded
Valkey: every process in every phase of a round. Then it must settle, and the files must show that
nothing was lost or counted twice (`tests/chaos/witness.py`). An empty cell of the table fails.
"""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.result import write_result
from tests.chaos.faults import CELLS, table
from tests.chaos.harness import Chaos


def main() -> int:
    """Print the seed, the table and the result line; write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=3 * len(CELLS), help="how many")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="what is drawn")
    parser.add_argument("--folder", type=Path, help="keep everything there, to look at")
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # and every process is ended
    sys.stdout.write(f"seed {args.seed}\n")
    sys.stdout.flush()
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary) / "chaos"
        with Chaos(folder, args.faults, args.seed) as chaos:
            try:
                chaos.run(_progress)
                version = chaos.settle()
                chaos.end()
            finally:
                sys.stdout.write(table(chaos.carried_out) + "\n")
        chaos.witness.check(version, Path(temporary) / "replay")
    if empty := [cell for cell in CELLS if not chaos.carried_out[cell]]:
        sys.stdout.write(f"{len(empty)} empty cells, such as {empty[0]}: more faults\n")
        return 1
    found = {
        "faults": chaos.carried_out.total(),
        "restarts": chaos.num_restarts,
        "versions": version,
        "rto_s_median": round(chaos.recovery_s, 2),
        "rto_s_max": round(max(chaos.recoveries_s), 2),
        "rto_samples": len(chaos.recoveries_s),
    }
    sys.stdout.write(f"result {' '.join(f'{k}={v}' for k, v in found.items())}\n")
    write_result(
        "chaos", {**found, "seed": args.seed, "seconds": round(time.monotonic() - began_s)}
    )
    return 0


def _progress(num_faults: int) -> None:
    if num_faults % 20 == 0:
        sys.stdout.write(f"{num_faults} faults\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
