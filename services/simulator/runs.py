"""Which run a history plays: drawn from its seed, apart from what goes wrong in it.

Always so that work can be counted: uniform g, constant s, C off, an outer step of 1, beta_e = 1.
"""

import random

from common.documents import Algorithm, Codec, Outer

_EXACT = Codec(kind="float32", bits=32, first_bits=32, residual_decay=1.0)
_NEVER = 1e6


def algorithm_of(seed: int) -> Algorithm:
    """Return a history's algorithm: a third are dense, a fifth discard work that is a bit old."""
    rng = random.Random(f"run {seed}")  # noqa: S311 - a simulation
    return Algorithm(
        tier="tls",
        min_cohort=1,
        normalisation="uniform",
        staleness="constant",
        max_staleness=0.4 if rng.random() < 0.2 else _NEVER,
        max_share=0.9999,
        clipping=False,
        local_steps=2,
        min_local_steps=1,
        codec=_dense(rng) if rng.random() < 1 / 3 else _EXACT,
        outer=Outer(kind="sgd", learning_rate=1.0, momentum=0.0),
    )


def _dense(rng: random.Random) -> Codec:
    bits, first_bits = rng.choice((4, 4, 8, 12, 16)), rng.choice((8, 16))
    return Codec(kind="dense", bits=bits, first_bits=first_bits, residual_decay=1.0)
