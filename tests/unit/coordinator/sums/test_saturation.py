import numpy as np
import pytest

from common.arrays import F32
from common.codec.dense import Dense
from common.codec.noise import Noise
from common.packing import unpack
from common.rotation import rotation_signs
from common.scales import energy, round_scales
from common.schema import BLOCK
from coordinator.sums.saturation import expected_saturation

NUM_BLOCKS = 64


def spread(seed: int, lengths: F32) -> F32:
    """Return blocks of gaussian values; `lengths` are their rms values, float32[n]."""
    draw = np.random.default_rng(seed).standard_normal((len(lengths), BLOCK), np.float32)
    return draw * lengths[:, None]


def encoded(codec: Dense, member: int, difference: F32) -> tuple[F32, F32]:
    """Return y as it was before clipping, in steps, and its square in radii, per block."""
    payload = bytearray(difference.size * codec.bits // 8)
    encoder = codec.encoder(1.0, 0.9, Noise(member.to_bytes(16, "big")))
    found = encoder.encode(0, difference.copy(), None, payload)
    q = unpack(bytes(payload), codec.bits).reshape(-1, BLOCK)
    assert found.residual is not None
    step: F32 = codec.step[:, None].astype(np.float32)
    return found.residual / step + q, found.square


@pytest.mark.parametrize(("bits", "num_members"), [(4, 4), (4, 3), (8, 4), (8, 3)])
@pytest.mark.parametrize("radii", [0.8, 1.0, 1.6])
def test_it_is_the_share_of_values_that_members_clip(
    bits: int, num_members: int, radii: float
) -> None:
    scales = round_scales(np.geomspace(0.01, 1, NUM_BLOCKS).astype(np.float32), 1.0, num_members)
    codec = Dense(bits, num_members, 3.0, scales, rotation_signs(7))
    lengths = (scales.radius * radii * np.linspace(0.8, 1.2, NUM_BLOCKS)).astype(np.float32)
    total, clipped = np.zeros(NUM_BLOCKS, np.uint32), []
    for member in range(num_members):
        y, square = encoded(codec, member, spread(member, lengths))
        clipped.append(np.mean(np.abs(y) > codec.levels))
        total += energy(square, scales.energy_cap)

    found = expected_saturation(total, num_members, codec.reach)
    assert found == pytest.approx(float(np.mean(clipped)), rel=0.1, abs=1e-4)


def test_blocks_that_are_zero_clip_nothing_and_endless_ones_clip_all() -> None:
    assert expected_saturation(np.zeros(5, np.uint32), 4, 3.0) == 0
    mixed = np.array([0, 2**31 - 1], np.uint32)
    assert expected_saturation(mixed, 4, 3.0) == pytest.approx(0.5, abs=1e-2)


def test_it_grows_with_the_blocks_and_shrinks_with_the_reach() -> None:
    shares = [expected_saturation(np.full(3, 4 * z, np.uint32), 4, 3.0) for z in (64, 256, 1024)]
    assert shares == sorted(shares)
    assert shares[1] == pytest.approx(0.0026998, rel=1e-4)  # beyond three sigma
    assert expected_saturation(np.full(3, 1024, np.uint32), 4, 2.0) > shares[1]
