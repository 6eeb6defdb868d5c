"""What sums still tell: figures for docs/threat-model.md.

    python -m benchmarks.threat

Updates are drawn, not trained: each is 30 % what all clouds have in common and 70 % its own, by
energy, of 4096 * 32 values. They go through the run's own 8-bit ring. `cosine` is that of an
estimate with the true update of one cloud, the victim: 1 = found whole, 0 = nothing.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Final

import numpy as np

from benchmarks.result import write_result
from commands.plan.likeness import COMMON
from common.arrays import F32, F64
from common.codec import randk
from common.codec.dense import Dense
from common.codec.noise import Noise
from common.documents import Algorithm
from common.rotation import rotation_signs
from common.scales import energy, round_scales
from common.schema import BLOCK
from common.weight import ONE
from services.observe.progress import outlet, shown

_BLOCKS: Final = 32
_COHORTS: Final = (3, 4, 8, 16)
_CAPPED: Final = (3, 4, 8)
_ALIKE: Final = (0.0, 0.5, 0.9, 0.99, 1.0)
_REPEATS: Final = 5
_SIGNS: Final = rotation_signs(1)
_MANY: Final = 128
"""Blocks whose energies are looked at."""


def _decoded(updates: list[F32], num_members: int, seed: int, weights: Sequence[float] = ()) -> F32:
    """Return the sum of some members' updates as the ring gives it back: float32[n, BLOCK].

    Args:
        weights: of each, at most 1; () = all 1.
    """
    unit = math.sqrt(fmean(w * w for w in weights)) if weights else 1.0  # a, as common/weight
    scales = round_scales(np.ones(len(updates[0]), np.float32), unit, num_members)
    codec = Dense(8, num_members, 3.5, scales, _SIGNS)
    total = codec.total(len(updates[0]))
    for i, update in enumerate(updates):
        noise = Noise(seed.to_bytes(8, "big") + i.to_bytes(8, "big"))
        payload = bytearray(update.size)
        weight = weights[i] if weights else 1.0
        codec.encoder(weight, 0.0, noise).encode(0, update.copy(), None, payload)
        total = codec.add(total, bytes(payload))
    return codec.mean(0, len(updates[0]), codec.pack(total), ONE)


def _cosine(a: F32, b: F32) -> float:
    x, y = a.ravel().astype(float), b.ravel().astype(float)
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def _updates(draw: np.random.Generator, num: int) -> list[F32]:
    common = draw.standard_normal((_BLOCKS, BLOCK), np.float32)
    own = [draw.standard_normal((_BLOCKS, BLOCK), np.float32) for _ in range(num)]
    return [np.float32(COMMON**0.5) * common + np.float32((1 - COMMON) ** 0.5) * o for o in own]


def _next(draw: np.random.Generator, before: list[F32], alike: float) -> list[F32]:
    """Return updates whose correlation with those before is `alike`."""
    fresh = _updates(draw, len(before))
    a, b = np.float32(alike), np.float32((1 - alike * alike) ** 0.5)
    return [a * u + b * f for u, f in zip(before, fresh, strict=True)]


def _differencing() -> dict[str, float]:
    """One round with the victim, the next one without: the difference of the two sums."""
    found: dict[str, float] = {}
    for num in _COHORTS:
        for alike in _ALIKE:
            cosines, honest = [], []
            for seed in range(_REPEATS):
                draw = np.random.default_rng([num, seed])
                first = _updates(draw, num)
                second = _next(draw, first, alike)
                whole = _decoded(first, num, seed)
                rest = _decoded(second[1:], num, seed + 100)
                cosines.append(_cosine(whole - rest, first[0]))
                honest.append(_cosine(whole, first[0]))
            found[f"cosine_difference_k{num}_alike{alike:g}"] = round(fmean(cosines), 3)
            found[f"cosine_one_sum_k{num}"] = round(fmean(honest), 3)
    return found


def _capped() -> dict[str, float]:
    """One sum in which the victim has all that the default `max_share` permits.

    Exact, as a codec without noise would give it, and through the ring, which clips what is long.
    """
    found: dict[str, float] = {}
    share = Algorithm().max_share
    for num in _CAPPED:
        other = (1 - share) / (num - 1) / share
        weights = (1.0, *[other] * (num - 1))
        exact, through_ring = [], []
        for seed in range(_REPEATS):
            updates = _updates(np.random.default_rng([num, seed]), num)
            weighted = [np.float32(w) * u for w, u in zip(weights, updates, strict=True)]
            exact.append(_cosine(np.sum(weighted, axis=0), updates[0]))
            through_ring.append(_cosine(_decoded(updates, num, seed, weights), updates[0]))
        found[f"cosine_at_max_share_k{num}"] = round(fmean(exact), 3)
        found[f"cosine_at_max_share_ring_k{num}"] = round(fmean(through_ring), 3)
    return found


def _losses() -> dict[str, float]:
    """Sums of losses over cohorts that change, solved for each cloud's: error over their spread."""
    found: dict[str, float] = {}
    for num in (4, 8):
        for rounds in (num, 4 * num, 16 * num):
            errors = []
            for seed in range(50):
                draw = np.random.default_rng([num, rounds, seed])
                losses = 3 + 0.3 * draw.standard_normal(num)
                taken = np.ones((rounds, num))
                taken[np.arange(rounds), draw.integers(0, num, rounds)] = 0  # one is left out
                noise = 0.02 * draw.standard_normal((rounds, num))
                sums = (taken * (losses + noise)).sum(axis=1)
                solved = np.linalg.lstsq(taken, sums, rcond=None)[0]
                errors.append(float(np.sqrt(np.mean((solved - losses) ** 2))) / 0.3)
            found[f"loss_error_over_spread_n{num}_rounds{rounds}"] = round(
                float(np.median(errors)), 3
            )
    return found


def _clipped() -> dict[str, float]:
    """How often the sum of clipped updates tells of every member whether it was clipped."""
    draw = np.random.default_rng(1)
    found: dict[str, float] = {}
    for num in (3, 8):
        for chance in (0.1, 0.5):
            sums = (draw.random((100_000, num)) < chance).sum(axis=1)
            told = float(np.mean((sums == 0) | (sums == num)))
            found[f"clipped_tells_all_s{num}_chance{chance:g}"] = round(told, 3)
    return found


def _rare_rows() -> dict[str, float]:
    """Rows of an embedding that only one cloud of a sum touched, and how well one is read."""
    vocabulary, tokens = 32_000, 20 * 8 * 512
    zipf = 1 / np.arange(1, vocabulary + 1)
    zipf /= zipf.sum()
    found: dict[str, float] = {}
    for num in (3, 8):
        draw = np.random.default_rng(num)
        touched = np.zeros((num, vocabulary), bool)
        for cloud in range(num):
            shared = draw.choice(vocabulary, int(0.9 * tokens), p=zipf)
            private = draw.permutation(vocabulary)[
                draw.choice(vocabulary, tokens - len(shared), p=zipf)
            ]
            touched[cloud, shared] = touched[cloud, private] = True
        of = touched.sum(axis=0)
        found[f"rows_of_one_cloud_k{num}"] = round(float((of == 1).sum() / (of > 0).sum()), 3)
        updates = _updates(draw, num)
        for other in updates[1:]:
            other[0, :256] = 0  # one row of 256 in the first block
        row = _decoded(updates, num, 1)[0, :256]
        found[f"cosine_row_of_one_cloud_k{num}"] = round(_cosine(row, updates[0][0, :256]), 3)
    return found


def _small_sums() -> dict[str, float]:
    """Sums of two and three: what the coordinator has, and what a member has beside its own."""
    found: dict[str, float] = {}
    for num in (2, 3):
        updates = _updates(np.random.default_rng(num), num)
        whole = _decoded(updates, num, 1)
        found[f"cosine_sum_of_{num}_coordinator"] = round(_cosine(whole, updates[0]), 3)
        others = whole - _decoded(updates[-1:], num, 1)
        found[f"cosine_sum_of_{num}_member"] = round(_cosine(others, updates[0]), 3)
    return found


def _told(draw: np.random.Generator, sizes: F64) -> F64:
    """Return z_B of one member's fresh work, as its encoder measures it.

    Args:
        sizes: typical value of each block, in units of its scale.
    """
    work = draw.standard_normal((len(sizes), BLOCK), np.float32) * sizes[:, None]
    scales = round_scales(np.ones(len(sizes), np.float32), 1.0, 16)
    encoder = Dense(8, 16, 3.5, scales, _SIGNS).encoder(1.0, 0.0, Noise(bytes(16)))
    encoded = encoder.encode(0, work.astype(np.float32), None, bytearray(work.size))
    return energy(encoded.square, scales.energy_cap).astype(np.float64)


def _correlation(a: F64, b: F64) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def _energies() -> dict[str, float]:
    """Block energies: a round with the victim, the next one without, and their difference.

    A cloud's blocks differ in size (log-normal, sigma 0.5; 30 % in common, by variance); `alike` is
    how its own part correlates from round to round. Values are fresh in each round.
    """
    found: dict[str, float] = {}
    for num in _COHORTS:
        for alike in _ALIKE:
            of_difference, of_sum, of_one_in_4 = [], [], []
            for seed in range(_REPEATS):
                draw = np.random.default_rng([num, seed])
                common = draw.standard_normal(_MANY)
                own = draw.standard_normal((num, _MANY))
                later = alike * own + (1 - alike**2) ** 0.5 * draw.standard_normal((num, _MANY))
                first, second = (
                    np.exp(0.5 * (COMMON**0.5 * common + (1 - COMMON) ** 0.5 * o))
                    for o in (own, later)
                )
                with_it = [_told(draw, sizes) for sizes in first]
                without = [_told(draw, sizes) for sizes in second[1:]]
                whole: F64 = np.sum(with_it, axis=0)
                rest: F64 = np.sum(without, axis=0)
                of_difference.append(_correlation(whole - rest, with_it[0]))
                of_sum.append(_correlation(whole, with_it[0]))
                # Of 1 in 4 blocks per round, drawn anew, only those that travel twice are compared.
                now, then = (randk.selected(_MANY, 4, seed, n).blocks for n in (1, 2))
                twice = np.intersect1d(now, then)
                guess = np.full(_MANY, (whole - rest)[twice].mean())
                guess[twice] = (whole - rest)[twice]
                of_one_in_4.append(_correlation(guess, with_it[0]))
            key = f"k{num}_alike{alike:g}"
            found[f"energy_correlation_difference_{key}"] = round(fmean(of_difference), 3)
            found[f"energy_correlation_randk_1_in_4_{key}"] = round(fmean(of_one_in_4), 3)
            found[f"energy_correlation_one_sum_k{num}"] = round(fmean(of_sum), 3)
    return found


def _waiting_energies() -> dict[str, float]:
    """As `_energies`, of the same work told twice, new work added: why none is of what waits."""
    found: dict[str, float] = {}
    for new in (0.0, 0.1, 0.3):
        correlations, errors = [], []
        for seed in range(_REPEATS):
            draw = np.random.default_rng([1, seed])
            sizes = np.exp(0.5 * draw.standard_normal((4, _MANY)))
            waiting = draw.standard_normal((4, _MANY, BLOCK), np.float32) * sizes[:, :, None]
            fresh = draw.standard_normal((4, _MANY, BLOCK), np.float32) * sizes[:, :, None]
            before, after = (np.sum(x * x, axis=2) / 16 for x in (waiting, waiting + new * fresh))
            guess = before.sum(axis=0) - after[1:].sum(axis=0)
            correlations.append(_correlation(guess, before[0]))
            errors.append(float(np.mean(np.abs(guess - before[0]) / before[0])))
        found[f"energy_correlation_waiting_k4_new{new:g}"] = round(fmean(correlations), 3)
        found[f"energy_error_waiting_k4_new{new:g}"] = round(fmean(errors), 3)
    return found


def _energies_of_many_rounds() -> dict[str, float]:
    """As `_losses`, per block: sizes that last, 10 % of noise per round, one of four missing."""
    found: dict[str, float] = {}
    for one_in in (1, 4):
        for rounds in (16, 64):
            draw = np.random.default_rng([one_in, rounds])
            profiles = np.exp(draw.standard_normal((4, _MANY)))
            taken = np.ones((rounds, 4))
            taken[np.arange(rounds), draw.integers(0, 4, rounds)] = 0
            noisy = profiles * np.exp(0.1 * draw.standard_normal((rounds, 4, _MANY)))
            sums = (taken[:, :, None] * noisy).sum(axis=1)
            solved = np.empty_like(profiles)
            travels = np.zeros((rounds, _MANY), bool)
            for n in range(rounds):
                travels[n, randk.selected(_MANY, one_in, 0, n).blocks] = True
            for block in range(_MANY):
                seen = travels[:, block]
                solved[:, block] = np.linalg.lstsq(taken[seen], sums[seen, block], rcond=None)[0]
            key = f"energy_correlation_n4_rounds{rounds}_1_in_{one_in}"
            found[key] = round(_correlation(solved[0], profiles[0]), 3)
    return found


def main() -> int:
    """Measure, print, and write benchmarks/results/threat.json."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    found: dict[str, float] = {}
    parts: tuple[Callable[[], dict[str, float]], ...] = (
        *(_differencing, _capped, _losses, _clipped, _rare_rows, _small_sums),
        *(_energies, _waiting_energies, _energies_of_many_rounds),
    )
    with shown("figures", len(parts), "parts", out=outlet()) as progress:
        for part in parts:
            found |= part()
            progress.advance()
    for key, value in found.items():
        print(f"{key:45} {value}")
    write_result("threat", found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
