"""`python -m simulator.explorer`: the table of `campaign.py`, and each attack's shortest trace."""

import argparse
import os
import sys
from pathlib import Path

from common.rounds import Rule
from simulator.explorer.campaign import UNREACHED, SearchRow, all_on, attack_on, trace


def main() -> int:
    """Search; return 1 if anything is found with all rules on, or an attack is not found."""
    parser = argparse.ArgumentParser(prog="explore", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for all rules on")
    parser.add_argument("--rule", type=int, action="append", help="only with this one off")
    parser.add_argument("--seconds", type=float, default=120, help="for each width of a rule")
    parser.add_argument("--traces", type=Path, help="folder that gets each attack's trace")
    args = parser.parse_args()
    wrong = 0
    if args.rule is None:
        for row in all_on(60 * args.minutes, os.cpu_count() or 1):
            _say(row)
            wrong += bool(row.found.broken)
    for rule in Rule:
        if args.rule and rule.value not in args.rule:
            continue
        if rule in UNREACHED:
            _say(f"{rule.value:>6} off  {UNREACHED[rule]}")
            continue
        row = attack_on(rule, args.seconds)
        _say(row)
        wrong += not row.found.broken
        if args.traces is not None and row.found.broken:
            (args.traces / f"rule_{rule.value}.txt").write_text(trace(rule, row))
    return min(wrong, 1)


def _say(row: SearchRow | str) -> None:
    steps = () if isinstance(row, str) else row.found.trace
    lines = (str(row), *(f"            {step}" for step in steps))
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
