"""Which run a history plays: drawn from its seed, apart from what goes wrong in it.

Always so that work can be counted: uniform g, constant s, C off, an outer step of 1, beta_e = 1.
"""

import random
from dataclasses import replace
from typing import Final

from common.documents import Algorithm, Codec, Outer
from common.terms import CODECS, RINGS
from common.thresholds import min_cohort
from coordinator.plan import Timings

TIMINGS: Final = Timings(
    lease_s=4.0,
    key_timeout_s=3.0,
    upload_timeout_s=5.0,
    default_grace_s=1.0,
    resolve_timeout_s=4.0,
)

_EXACT: Final = Codec(kind="float32", bits=32, first_bits=32, residual_decay=1.0)
_NEVER: Final = 1e6
_MASKED: Final = 1 / 3
_SEVERAL: Final = 1 / 2
_COLLUDING: Final = 0.25
"""Share of the masked runs of five workers that allow for a colluding one."""


_PRIMES: Final = (2, 3, 5)
_SPARSE: Final = (16, 64, 256)


def algorithm_of(seed: int) -> Algorithm:
    """Return a history's algorithm: a third are masked.

    Of the others a third are dense, or where there are several blocks, have any codec. A fifth of
    all discard work that is a bit old.
    """
    rng = random.Random(f"run {seed}")  # noqa: S311 - a simulation
    plain = Algorithm(
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
    if (num := num_blocks(seed)) > 1:
        plain = replace(plain, codec=_any(rng, num, RINGS if _is_masked(seed) else CODECS))
    return _masked(plain, seed) if _is_masked(seed) else plain


def num_blocks(seed: int) -> int:
    """Return how many blocks a history's model has: in half of all, several."""
    rng = random.Random(f"blocks {seed}")  # noqa: S311 - a simulation
    return rng.choice((2, 3, 4, 5)) if rng.random() < _SEVERAL else 1


def num_workers(seed: int) -> int:
    """Return how many workers a history has: in the masked tier mostly enough to lose one."""
    if _is_masked(seed):
        return random.Random(f"workers {seed}").choice((3, 4, 4, 4, 5, 5))  # noqa: S311
    return 3 + (seed % 7 == 0) + (seed % 11 == 0)


def _is_masked(seed: int) -> bool:
    return random.Random(f"tier {seed}").random() < _MASKED  # noqa: S311 - a simulation


def _masked(plain: Algorithm, seed: int) -> Algorithm:
    """Return the algorithm in the masked tier; cohorts may leave workers out."""
    rng, num = random.Random(f"masked {seed}"), num_workers(seed)  # noqa: S311 - a simulation
    colluding = int(num == 5 and rng.random() < _COLLUDING)
    fewest = min_cohort(colluding)
    return replace(
        plain,
        tier="masked",
        colluding=colluding,
        min_cohort=fewest,
        max_cohort=rng.choice((5, 5, 5, max(fewest, num - 1))),
        codec=_dense(rng) if num_blocks(seed) == 1 else plain.codec,
    )


def _any(rng: random.Random, num: int, kinds: tuple[str, ...]) -> Codec:
    """Return a codec of a model of `num` blocks."""
    kind = rng.choice(kinds)
    match kind:
        case "float32":
            return _EXACT
        case "topk":
            return replace(_EXACT, kind=kind, bits=2, first_bits=2, one_in=rng.choice(_SPARSE))
        case "dense":
            return _dense(rng)
        case "cyclic":
            one_in = rng.choice([p for p in _PRIMES if p <= num])
        case _:
            one_in = rng.randint(2, num)
    return replace(_dense(rng), kind=kind, one_in=one_in)


def _dense(rng: random.Random) -> Codec:
    bits, first_bits = rng.choice((4, 4, 8, 12, 16)), rng.choice((8, 16))
    return Codec(kind="dense", bits=bits, first_bits=first_bits, residual_decay=1.0)
