"""`make fuzz`: a million damaged inputs and more; prints how many, how long, and what memory did.

    python -m tests.fuzz.campaign --inputs 1000000 --seed 0

What crashes a reader is kept in corpus/<target>/ under its hash, where the tests find it.
"""

import argparse
import hashlib
import random
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from services.observe.process_memory import resident_bytes
from tests.fuzz.mutator import mutated
from tests.fuzz.targets import Target, targets

CORPUS = Path(__file__).parent / "corpus"


@dataclass
class Found:
    """What one target did with its inputs."""

    num_inputs: int = 0
    num_refused: int = 0
    crashes: int = 0
    kinds: set[str] = field(default_factory=set)


def known(target: Target) -> tuple[bytes, ...]:
    """Return the inputs that once crashed it."""
    return tuple(p.read_bytes() for p in sorted((CORPUS / target.name).glob("*")))


def attack(target: Target, num_inputs: int, seed: int, *, keep: bool) -> Found:
    """Feed damaged inputs to a target.

    Raises:
        Exception: whatever it raised that is not ours, unless `keep` is set: then it is printed and
            its input goes to the corpus.
    """
    rng, found = random.Random(f"{seed}/{target.name}"), Found()
    seeds = (*target.seeds, *known(target))
    for _ in range(num_inputs):
        content = mutated(rng, seeds, target.most_bytes)
        found.num_inputs += 1
        try:
            found.num_refused += target.refuses(content)
        except Exception as e:
            if not keep:
                raise
            found.crashes += 1
            place = traceback.extract_tb(e.__traceback__)[-1]
            kind = f"{type(e).__name__} at {Path(place.filename).name}:{place.lineno}"
            if kind not in found.kinds:
                found.kinds.add(kind)
                print(f"{target.name}: {kind}: {str(e)[:100]!r}")
                folder = CORPUS / target.name
                folder.mkdir(parents=True, exist_ok=True)
                (folder / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
    return found


def main() -> int:
    """Attack every target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="at least so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one target")
    args = parser.parse_args()
    start_s, total, crashes = time.monotonic(), 0, 0
    all_targets = targets()
    weights = sum(t.weight for t in all_targets)
    print("target            inputs   refused   crashes   seconds   MiB more")
    for target in all_targets:
        if args.only not in (None, target.name):
            continue
        num = int(args.inputs * target.weight / weights) + 1
        attack(target, num // 10 + 1, args.seed + 1, keep=True)  # memory settles
        before_bytes, began_s = resident_bytes(), time.monotonic()
        found = attack(target, num, args.seed, keep=True)
        total, crashes = total + found.num_inputs, crashes + found.crashes
        print(
            f"{target.name:14}{found.num_inputs:10}{found.num_refused:10}{found.crashes:10}"
            f"{time.monotonic() - began_s:10.1f}{(resident_bytes() - before_bytes) / 2**20:11.1f}",
            flush=True,
        )
    took_s = time.monotonic() - start_s
    print(f"result inputs={total} crashes={crashes} seconds={took_s:.0f} seed={args.seed}")
    return int(crashes > 0)


if __name__ == "__main__":
    sys.exit(main())
