"""What a cap on one cloud's part of a sum costs: learning at speeds 4:4:1:1.

    python -m benchmarks.share_cap [--jobs 2]        half an hour; what is interrupted goes on

Four workers train a small byte-level model on WikiText-2, each on articles of its own, in the
simulator (docs/simulation.md), two of them four times as fast as the others and so with four times
as many tokens in each cohort. What a member has beyond the cap counts less: all rows train on as
many tokens. "Costs at most 1 %" is claimed only where the one-sided 95 % bound of the paired
difference to 0.6 says so.

    0.75  what was the default: caps nobody here
    0.6   the default: of any three survivors
    2/K   two equal shares: with K = 4 the same as 0.5
"""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.compression import FULL, LEARNER, QUICK, ROOT, WORKERS, Size
from benchmarks.paired import excess, mean, upper_bound
from benchmarks.result import write_result
from benchmarks.texts import SHARED, Texts, standard_library, wikitext
from common.canonical import Json
from common.documents import Algorithm, Schedule, Stop
from services.config.presets import DEFAULT_PRESET, PRESETS
from simulator.campaign import play
from simulator.experiment import Cloud, Learned, LearningRun

SPEEDS: Final = (4.0, 4.0, 1.0, 1.0)
CAPS: Final = {"0.75": 0.75, "0.6": 0.6, "2/K": 2 / len(WORKERS)}
REFERENCE: Final = "0.6"
ALLOWED: Final = 0.01
"""Of the loss: a cap that may cost more is not worth it."""


@dataclass(frozen=True, slots=True)
class CapCost:
    """What came of one cap.

    Args:
        loss: mean over the seeds, nats per token.
        excess: over the reference, relatively; the mean of pairs.
        most: what that is below, at 95 %.
        cohort: members per version.
    """

    loss: float
    excess: float
    most: float
    cohort: float


def run_of(cap: str, seed: int, size: Size, texts: Texts) -> LearningRun:
    """Return the run of a cap with a seed."""
    clouds = (
        Cloud(name, {"train": [str(share)]}, steps_per_s=speed)
        for name, share, speed in zip(WORKERS, texts.shares, SPEEDS, strict=True)
    )
    measured: dict[str, Json] = {
        "validation": [str(texts.validation)],
        "validation_tokens": size.measured_tokens,
    }
    return LearningRun(
        seed=seed,
        learner=LEARNER,
        settings=size.settings(1),
        algorithm=_algorithm(CAPS[cap], size),
        stop=Stop(tokens=len(WORKERS) * size.steps * size.batch * size.sequence),
        clouds=tuple(clouds),
        measured=measured,
    )


def _algorithm(max_share: float, size: Size) -> Algorithm:
    return replace(
        PRESETS[DEFAULT_PRESET].algorithm,
        tier="tls",  # masks cancel exactly: the same versions, in less time
        max_share=max_share,
        max_cohort=len(WORKERS),
        schedule=Schedule(peak=size.peak, warmup_steps=40, floor=0.1),
    )


def cost(learned: list[Learned], references: list[Learned]) -> CapCost:
    """Return what a cap cost, seed by seed."""
    losses = [r.loss for r in learned]
    differences = excess(losses, [r.loss for r in references])
    return CapCost(
        loss=mean(losses),
        excess=mean(differences),
        most=upper_bound(differences),
        cohort=mean([r.exchanges / r.versions for r in learned]),
    )


def main() -> int:
    """Print the table and the result line; write the result unless it is quick."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny runs, two seeds, no file")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once (default: 1)")
    parser.add_argument("--seeds", type=int, default=3, help="of each cap (default: 3)")
    parser.add_argument("--data", type=Path, default=SHARED, help="folder of valid.txt, test.txt")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "share_cap")
    args = parser.parse_args()
    size, num_seeds = (QUICK, 2) if args.quick else (FULL, args.seeds)
    has_text = (args.data / "test.txt").is_file() and (args.data / "valid.txt").is_file()
    if not has_text and not args.quick:
        print(f"skipped: {args.data} does not hold test.txt and valid.txt of WikiText-2")
        return 0
    out = args.folder / "text"
    texts = wikitext(args.data, out, 4) if has_text else standard_library(out, len(WORKERS))
    seeds = range(1, num_seeds + 1)
    runs = {f"{cap}, seed {s}": run_of(cap, s, size, texts) for s in seeds for cap in CAPS}
    console = Console(highlight=False, markup=False, soft_wrap=True)
    found = play(runs, args.folder, jobs=args.jobs, console=console)
    by_cap = {cap: [found[f"{cap}, seed {s}"] for s in seeds] for cap in CAPS}
    costs = {cap: cost(learned, by_cap[REFERENCE]) for cap, learned in by_cap.items()}
    print(f"{'cap':5} {'loss':>7} {'excess':>8} {'at most':>8} {'cohort':>7}")
    for cap, c in costs.items():
        print(f"{cap:5} {c.loss:7.4f} {c.excess:8.3%} {c.most:8.3%} {c.cohort:7.2f}")
    keys = {
        "equal_shares_excess": round(costs["2/K"].excess, 5),
        "equal_shares_excess_at_most": round(costs["2/K"].most, 5),
        "equal_shares_taken": costs["2/K"].most <= ALLOWED,
    }
    if args.quick:
        print("quick: no figure of this is a claim; nothing is written")
    print("result", *(f"{k}={v}" for k, v in keys.items()))
    if not args.quick:
        losses = {cap: [round(r.loss, 5) for r in learned] for cap, learned in by_cap.items()}
        cohorts = {cap: round(c.cohort, 3) for cap, c in costs.items()}
        write_result("share_cap", {**keys, "losses": losses, "cohorts": cohorts})
    return 0


if __name__ == "__main__":
    sys.exit(main())
