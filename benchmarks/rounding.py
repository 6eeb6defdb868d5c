"""How far off the mean of a cohort is by its rounding, if its members round alike or each alone.

    python -m benchmarks.rounding

Values are as a rotated block has them: normal, of rms r, drawn for each member. They go through the
run's own encoder: q = floor(y/step + u), step = m*r/L, L what a ring of b bits leaves K members.

    alone       u of each member and value drawn by itself: what the product does
    stratified  u_i = frac(u + rank_i/K), one u for all members of a value
    told        u known to everybody, so that it is taken off the sum again (subtractive dither)

Errors are mean squares of mean - true mean, in units of r**2, clipping included; a ratio is to
`alone`. The second table is what m decides: `lost` is the part of a signal that clipping takes
away on average, 1 - E[y*clipped y]/E[y**2], which for normal values is P(|y| > m*r).
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from typing_extensions import override

from benchmarks.result import write_result
from common.arrays import F32, F64, I16
from common.codec.dense import Dense
from common.codec.noise import Noise
from common.packing import unpack
from common.rotation import rotation_signs
from common.scales import levels, round_scales
from common.schema import BLOCK

_BITS: Final = (4, 8)
_MEMBERS: Final = range(2, 9)
_MULTIPLES: Final = (2.0, 3.0, 3.5)
_RINGS: Final = ((4, 2), (4, 3), (4, 4), (8, 4), (8, 8))
"""b and K of the second table."""

_FINE: Final = 2**16
_SIGNS: Final = rotation_signs(1)


class _Given(Noise):
    """Noise that is known beforehand: int16[num]."""

    def __init__(self, values: I16) -> None:
        self.values = values

    @override
    def uniform(self, start: int, num: int) -> I16:
        return self.values[start : start + num]


def _ring(bits: int, num_members: int, multiple: float, num_blocks: int) -> Dense:
    """Return a round's codec, of r = 1 in every block."""
    scales = round_scales(np.ones(num_blocks, np.float32), 1.0, num_members)
    return Dense(bits, num_members, multiple, scales, _SIGNS)


def _sent(codec: Dense, y: F32, noise: Noise) -> F64:
    """Return what the others read of y, float32[n, BLOCK]: q*step."""
    payload = bytearray(y.size * codec.bits // 8)
    codec.encoder(1.0, 1.0, noise).encode(0, np.zeros_like(y), y, payload)
    sent: F64 = unpack(bytes(payload), codec.bits).reshape(y.shape) * codec.step[:, None]
    return sent


def _errors(
    bits: int, num_members: int, num_blocks: int, draw: np.random.Generator
) -> dict[str, float]:
    """Return each way's mean squared error of the mean."""
    codec = _ring(bits, num_members, 3.5, num_blocks)
    y = draw.standard_normal((num_members, num_blocks, BLOCK), np.float32)
    size = num_blocks * BLOCK
    shared = draw.integers(-_FINE // 2, _FINE // 2, size, np.int16)

    def stratified(rank: int) -> I16:
        return shared + np.int64(rank * _FINE // num_members).astype(np.int16)  # wraps, as frac

    alone = [Noise(draw.bytes(16)) for _ in range(num_members)]
    ranked = [_Given(stratified(rank)) for rank in range(num_members)]
    true = y.mean(axis=0, dtype=np.float64)
    ways: Mapping[str, Sequence[Noise]] = {"alone": alone, "stratified": ranked}
    means: dict[str, F64] = {
        way: np.mean([_sent(codec, y[i], noise) for i, noise in enumerate(noises)], axis=0)
        for way, noises in ways.items()
    }
    told = np.mean([n.uniform(0, size).astype(np.float64) for n in alone], axis=0) / _FINE
    means["told"] = means["alone"] - told.reshape(true.shape) * codec.step[:, None]
    return {way: float(np.mean((mean - true) ** 2)) for way, mean in means.items()}


def _clipping(
    bits: int, num_members: int, multiple: float, num_blocks: int, draw: np.random.Generator
) -> dict[str, float]:
    """Return what one member's update loses in such a ring."""
    codec = _ring(bits, num_members, multiple, num_blocks)
    y = draw.standard_normal((num_blocks, BLOCK), np.float32)
    exact = y.astype(np.float64)
    reach = codec.levels * codec.step[:, None]
    cut = np.clip(exact, -reach, reach)
    sent = _sent(codec, y, Noise(draw.bytes(16)))
    return {
        "reach": float(reach[0, 0]),
        "lost": 1 - float(np.mean(exact * cut) / np.mean(exact * exact)),
        "mse_clipping": float(np.mean((cut - exact) ** 2)),
        "mse": float(np.mean((sent - exact) ** 2)),
    }


def _rounding_table(num_blocks: int) -> dict[str, float]:
    found: dict[str, float] = {}
    print(" b  K   L     alone  stratified  ratio      told  ratio")
    for bits in _BITS:
        for num in _MEMBERS:
            if (most := levels(bits, num)) < 1:
                continue  # the product refuses it
            errors = _errors(bits, num, num_blocks, np.random.default_rng([bits, num]))
            ratios = {way: errors[way] / errors["alone"] for way in ("stratified", "told")}
            name = f"b{bits}_k{num}"
            found |= {f"mse_{way}_{name}": error for way, error in errors.items()}
            found |= {f"ratio_{way}_{name}": ratio for way, ratio in ratios.items()}
            print(
                f"{bits:2} {num:2} {most:3} {errors['alone']:9.3g} {errors['stratified']:11.3g} "
                f"{ratios['stratified']:6.2f} {errors['told']:9.3g} {ratios['told']:6.2f}"
            )
    return found


def _clipping_table(num_blocks: int) -> dict[str, float]:
    found: dict[str, float] = {}
    print("\n b  K   L    m      lost  P(|y| > m)  mse of clipping       mse")
    for bits, num in _RINGS:
        for multiple in _MULTIPLES:
            draw = np.random.default_rng([bits, num])
            one = _clipping(bits, num, multiple, num_blocks, draw)
            if one["reach"] < multiple * (1 - 1e-6):
                continue  # the product takes a smaller m in so narrow a ring
            found |= {f"{key}_b{bits}_k{num}_m{multiple:g}": one[key] for key in one}
            chance = math.erfc(multiple / math.sqrt(2))
            print(
                f"{bits:2} {num:2} {levels(bits, num):3} {multiple:4g} {one['lost']:9.5f} "
                f"{chance:11.5f} {one['mse_clipping']:16.3g} {one['mse']:9.3g}"
            )
    return found


def main() -> int:
    """Print both tables and the result line; write the result unless it is quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer blocks, no file")
    quick = parser.parse_args().quick
    num_blocks = 16 if quick else 256
    found = {**_rounding_table(num_blocks), **_clipping_table(num_blocks)}
    keys = ("ratio_stratified_b8_k4", "ratio_told_b8_k4", "lost_b8_k4_m2", "lost_b8_k4_m3.5")
    print("result", *(f"{key}={found[key]:.4f}" for key in keys))
    if not quick:
        write_result("rounding", found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
