"""Whether killing anything at any moment loses anything, and how soon somebody leads again.

    python -m benchmarks.chaos [--times 2] [--seed 11]           or: make chaos

Kills, pauses and network cuts on federations of real processes over mutual TLS, every process in
every phase of a round; then each must settle, and the files must show that nothing was lost or
counted twice (`tests/rig/chaos/witness.py`). An empty cell of a table fails.

    alone      one coordinator with an embedded Valkey
    standby    a second coordinator waits for the lease in a server of somebody else's; the network
               is cut by toxiproxy where that is, else by a proxy of our own that resets nothing
"""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.result import write_result
from tests.rig.chaos.faults import cells, table
from tests.rig.chaos.harness import Chaos
from tests.rig.chaos.standby import StandbyChaos
from tests.rig.programs import lacking

_SETUPS: Final = {"alone": Chaos, "standby": StandbyChaos}


def main() -> int:
    """Print the seed, the tables and the result line; write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=2, help="how often each cell is hit")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="what is drawn")
    parser.add_argument("--setup", choices=_SETUPS, help="only this one; no file")
    parser.add_argument("--folder", type=Path, help="keep everything there, to look at")
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # and every process is ended
    _say(f"seed {args.seed}")
    if reason := lacking("toxiproxy-server"):
        _say(f"without resets: {reason}")
    began_s = time.monotonic()
    found: dict[str, dict[str, Any]] = {}
    for name in [args.setup] if args.setup else _SETUPS:
        with tempfile.TemporaryDirectory() as temporary:
            folder = (args.folder or Path(temporary)) / name
            found[name] = _carry_out(folder, Path(temporary) / "replay", name, args)
        if empty := found[name].pop("empty"):
            _say(f"{len(empty)} empty cells, such as {empty[0]}: more faults")
            return 1
    keys = {"faults": sum(of_one["faults"] for of_one in found.values())}
    keys |= {f"{name}_{k}": v for name, of_one in found.items() for k, v in of_one.items()}
    _say(f"result {' '.join(f'{k}={v}' for k, v in keys.items())}")
    if not args.setup:
        took_s = round(time.monotonic() - began_s)
        write_result("chaos", {**keys, "seed": args.seed, "seconds": took_s})
    return 0


def _carry_out(folder: Path, replay: Path, name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run one setup to its end; return its figures, and the "empty" cells."""
    setup = _SETUPS[name]
    _say(name)
    with setup(folder, args.seed, times=args.times) as chaos:
        try:
            chaos.run(_progress)
            version = chaos.settle()
            chaos.end()
        finally:
            _say(table(chaos.kinds, chaos.carried_out))
    chaos.witness.check(version, replay)
    figures = {
        "empty": [cell for cell in cells(chaos.kinds) if not chaos.carried_out[cell]],
        "faults": chaos.carried_out.total(),
        "restarts": chaos.num_restarts,
        "versions": version,
        "rto_s_median": round(chaos.recovery_s, 2),
        "rto_s_max": round(max(chaos.recoveries_s), 2),
        "rto_samples": len(chaos.recoveries_s),
    }
    if isinstance(chaos, StandbyChaos):
        figures["takeovers"] = chaos.num_takeovers
    return figures


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _progress(num_faults: int) -> None:
    if num_faults % 20 == 0:
        _say(f"{num_faults} faults")


if __name__ == "__main__":
    sys.exit(main())
