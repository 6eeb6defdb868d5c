"""How long a fast worker waits for anything remote, with a slow one in the federation.

    python -m benchmarks.idle

The demo's federation, every worker paced so that the cores are not the limit and one of them three
times slower. Idle is the trainer's own measure: time in which it may not train because the run is
paused or because eight contributions' worth of its steps are not committed yet.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.result import write_result
from commands.demo.demo_settings import demo_spec
from commands.demo.federation import Federation

_SLOW: Final = "onprem"


def main() -> int:
    """Print the table and the result line; write the result unless it is quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps-per-s", type=float, default=4.0, help="pace of a fast worker")
    parser.add_argument("--seconds", type=float, default=100.0, help="length of the run")
    parser.add_argument("--quick", action="store_true", help="10 seconds, no file")
    args = parser.parse_args()
    seconds = 10.0 if args.quick else args.seconds
    with tempfile.TemporaryDirectory() as folder:
        spec = demo_spec(Path(folder) / "idle", seconds, max_steps_per_s=args.steps_per_s)
        federation = Federation(spec)
        with federation:
            federation.wait(seconds + 200)
        path = federation.layout.coordinator.result
        workers = json.loads(path.read_text(encoding="utf-8"))["workers"]

    lines = ["worker     steps  contributions  staleness   idle"]
    lines += [
        f"{name:9}{w['steps']:7}{w['contributions']:15}{w['staleness_mean']:11.2f}"
        f"{w['idle_share']:7.2%}"
        for name, w in sorted(workers.items())
    ]
    found = {
        "idle_share_fast": max(w["idle_share"] for n, w in workers.items() if n != _SLOW),
        "contributions_slow": workers[_SLOW]["contributions"],
    }
    if args.quick:
        lines.append("quick: too short to mean anything; nothing is written")
    lines.append(f"result {' '.join(f'{k}={v}' for k, v in found.items())}")
    sys.stdout.write("\n".join(lines) + "\n")
    if not args.quick:
        write_result("idle", {**found, "steps_per_s": args.steps_per_s, "workers": workers})
    return 0


if __name__ == "__main__":
    sys.exit(main())
