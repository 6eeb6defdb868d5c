"""The compiled loops beside the formulas they stand for; `test_codecs.py` has what they make."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from common.codec.loops import FINE, compiled, encode, rotate, squared_distance
from common.rotation import rotation_signs
from common.schema import BLOCK

SIGNS = rotation_signs(5)
DECAY = np.float32(0.75)


def draw(seed: int, num: int = 3) -> Any:
    return np.random.default_rng(seed).standard_normal((num, BLOCK)).astype(np.float32)


@pytest.mark.parametrize(("dtype", "levels"), [(np.int8, 2), (np.int8, 31), (np.int16, 8191)])
def test_encoding_is_the_formula_in_float32_to_the_last_bit(dtype: Any, levels: int) -> None:
    x, carried = draw(0), draw(1)
    step = np.array([0.5, 1.0, 3.0]) * 3.5 / levels
    to_fine, from_fine = (FINE / step).astype(np.float32), (step / FINE).astype(np.float32)
    noise = np.random.default_rng(2).integers(-(2**15), 2**15, x.shape).astype(np.int16)
    y = rotate(x.copy(), SIGNS) + carried * DECAY

    square, q = np.empty(3, np.float32), np.empty(x.shape, dtype)
    encode(
        x, SIGNS, carried, DECAY, to_fine, square, from_fine, noise, np.float32(levels), q
    )  # fmt: skip

    noisy = y * to_fine[:, None] + noise.astype(np.float32)
    rounded = np.clip(np.rint(noisy / FINE), -levels, levels).astype(np.float32)
    assert np.array_equal(q, rounded)
    assert len(np.unique(q)) > min(levels, 300)
    assert np.array_equal(x, y - rounded * FINE * from_fine[:, None])
    np.testing.assert_allclose(square, np.square(y * to_fine[:, None]).sum(axis=1), rtol=1e-5)


def test_the_squared_distance_is_of_all_blocks_and_shows_what_is_not_finite() -> None:
    a, b = draw(0).reshape(-1), draw(1).reshape(-1)

    assert squared_distance(a, b) == pytest.approx(np.square(a.astype(float) - b).sum(), rel=1e-6)
    a[-1] = np.inf
    assert squared_distance(a, b) == np.inf
    a[5] = np.nan
    assert np.isnan(squared_distance(a, b))


def test_a_function_is_compiled_where_there_is_no_folder_to_keep_it() -> None:
    space: dict[str, Any] = {}
    exec("def double(x):\n    return 2 * x\n", space)  # Numba finds no file that it stands in

    assert compiled()(space["double"])(4) == 8


def test_who_only_decodes_needs_no_numba() -> None:
    program = (
        "import sys; sys.modules['numba'] = None\n"
        "import services.coordinator.main, services.evaluator.main\n"
        "from common.selftest import selftest_digest\n"
        "print(selftest_digest())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert len(done.stdout.strip()) == 64
