import numpy as np
import pytest

from common.errors import DamagedDataError
from services.wire.compression import PART_BYTES, Compressor, decompress, part_bytes


def normal_levels(num: int, sigma: float) -> bytes:
    """Return rounded gaussian values as a sum has them, int8[num]."""
    draw = np.random.default_rng(0).standard_normal(num)
    return np.rint(sigma * draw).astype(np.int8).tobytes()


@pytest.mark.parametrize("part", [b"", b"x", bytes(PART_BYTES), normal_levels(PART_BYTES, 20)])
def test_a_part_comes_out_as_it_went_in(part: bytes) -> None:
    assert decompress(Compressor().compress(part), len(part)) == part


def test_a_sum_at_8_bits_compresses_close_to_its_entropy() -> None:
    part = normal_levels(PART_BYTES, 20)
    counts = np.unique(np.frombuffer(part, np.int8), return_counts=True)[1] / len(part)
    entropy_bytes = -len(part) * float(np.sum(counts * np.log2(counts))) / 8
    assert entropy_bytes <= len(Compressor().compress(part)) < 1.02 * entropy_bytes


@pytest.mark.parametrize(
    "damage", [lambda f: f[:-1], lambda f: f + b"x", lambda f: f[:40] + b"!" + f[41:]]
)
def test_a_damaged_frame_is_refused(damage: object) -> None:
    frame = Compressor().compress(normal_levels(1000, 20))
    with pytest.raises(DamagedDataError, match="a frame cannot be read"):
        decompress(damage(frame), 1000)  # type: ignore[operator]


def test_a_frame_that_says_another_size_is_refused_unread() -> None:
    bomb = Compressor().compress(bytes(2**24))
    with pytest.raises(DamagedDataError, match="a frame of 16777216 bytes, must be 1000"):
        decompress(bomb, 1000)


def test_parts_end_at_their_boundaries_and_at_the_file_s_end() -> None:
    total = 2 * PART_BYTES + 5
    assert part_bytes(0, total) == PART_BYTES
    assert part_bytes(PART_BYTES - 3, total) == 3
    assert part_bytes(2 * PART_BYTES, total) == 5
