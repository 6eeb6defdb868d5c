"""`python -m simulator.explorer`: the table of `campaign.py`, and each attack's shortest trace."""

import argparse
import sys

from common.rounds import Rule
from simulator.explorer.campaign import UNREACHED, Row, attack_on, honest


def main() -> int:
    """Search; return 1 if anything is found with all rules on, or an attack is not found."""
    parser = argparse.ArgumentParser(prog="explore", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for all rules on")
    parser.add_argument("--rule", type=int, action="append", help="only with this one off")
    parser.add_argument("--seconds", type=float, default=120, help="for each width of a rule")
    args = parser.parse_args()
    wrong = 0
    if args.rule is None:
        for row in honest(60 * args.minutes):
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
    return min(wrong, 1)


def _say(row: Row | str) -> None:
    steps = () if isinstance(row, str) else row.found.trace
    lines = (str(row), *(f"            {step}" for step in steps))
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
