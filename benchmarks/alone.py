"""What sharing is worth: each worker of the demo alone, for the steps that it took in the run.

    python -m benchmarks.alone runs/demo/result.json

The text is that of the demo: the standard library of this interpreter, split by package. All losses
are in nats per byte on the same held-out windows. The bigram is fitted to the pooled training text.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.result import write_result
from commands.demo.demo_settings import (
    LEARNER,
    SCHEDULE,
    SEED,
    SETTINGS,
    VALIDATION_TOKENS,
    WORKERS,
)
from worker.training.data import read_tokens, validation_windows
from worker.training.demo_text import stdlib_shares, write_texts
from worker.training.encoder import BYTE_ENCODER, Tokens
from worker.training.learner import LearnerContext, load_learner
from worker.training.schedule import learning_rate
from worker.training.tally import Tally

_DEFAULT_STEPS: Final = 500
_QUICK_STEPS: Final = 30
_PSEUDO_COUNT: Final = 0.01
"""Added to every count of the bigram: of 1, 0.1 and 0.01 the best on the held-out text."""


def main() -> int:
    """Print the table and the result line; write the result unless it is quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path, nargs="?", help="result.json of a demo run")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_STEPS} steps, no file")
    args = parser.parse_args()
    together: Mapping[str, Any] = json.loads(args.result.read_text()) if args.result else {}
    steps = {n: _steps(together, n, quick=args.quick) for n in WORKERS}

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        split = stdlib_shares(len(WORKERS))
        write_texts(split.validation, root / "validation")
        for name, share in zip(WORKERS, split.shares, strict=True):
            write_texts(share, root / name)
        pool = ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"))
        with pool:
            losses = list(pool.map(train_alone, [root] * len(WORKERS), WORKERS, steps.values()))
        alone = dict(zip(WORKERS, losses, strict=True))
        bigram = bigram_loss(root)

    found = {
        "loss_together": together.get("loss_nats"),
        "loss_best_alone": min(alone.values()),
        "loss_bigram": bigram,
    }
    _print(alone, steps, found, quick=args.quick)
    if not args.quick:
        write_result("alone", {**found, "loss_alone": alone, "steps_alone": steps})
    return 0


def train_alone(root: Path, name: str, num_steps: int) -> float:
    """Train one worker on its own text and return its loss on the held-out windows."""
    data = {
        "train": [str(root / name)],
        "validation": [str(root / "validation")],
        "validation_tokens": VALIDATION_TOKENS,
    }
    learner = load_learner(LEARNER)(LearnerContext(SETTINGS, data, SEED, name))
    for step in range(num_steps):
        learner.train(learning_rate(SCHEDULE, step / num_steps, step))
    return learner.evaluate().loss


def bigram_loss(root: Path) -> float:
    """Fit P(next byte | byte) to the pooled text; return its loss on the held-out windows."""
    counts = np.full((256, 256), _PSEUDO_COUNT)
    for name in WORKERS:
        tokens = _tokens(root / name).astype(np.int64)
        counts += np.bincount(256 * tokens[:-1] + tokens[1:], minlength=65536).reshape(256, 256)
    log_p = np.log(counts / counts.sum(axis=1, keepdims=True))
    windows = validation_windows(
        _tokens(root / "validation"),
        sequence=SETTINGS["sequence"],
        max_tokens=VALIDATION_TOKENS,
    )
    return float(-log_p[windows[:, :-1], windows[:, 1:]].mean())


def _tokens(folder: Path) -> Tokens:
    return read_tokens([str(folder)], BYTE_ENCODER, Tally(folder.name))


def _steps(together: Mapping[str, Any], name: str, *, quick: bool) -> int:
    if quick:
        return _QUICK_STEPS
    return int(together["workers"][name]["steps"]) if together else _DEFAULT_STEPS


def _print(
    alone: Mapping[str, float],
    steps: Mapping[str, int],
    found: Mapping[str, float | None],
    *,
    quick: bool,
) -> None:
    lines = ["model                   steps   held-out loss (nats per byte)"]
    lines += [f"{n + ' alone':22}{steps[n]:7}   {loss:.4f}" for n, loss in alone.items()]
    if found["loss_together"] is not None:
        lines.append(f"{'together':22}{'':7}   {found['loss_together']:.4f}")
    lines.append(f"{'bigram, pooled text':22}{'':7}   {found['loss_bigram']:.4f}")
    if quick:
        lines.append("quick: too few steps to compare with a run; nothing is written")
    values = (f"{k}={'none' if v is None else f'{v:.4f}'}" for k, v in found.items())
    lines.append(f"result {' '.join(values)}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
