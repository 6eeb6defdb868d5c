import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.selftest import selftest_digest

HERE = Path(__file__).parent
KNOWN = (HERE / "selftest.txt").read_text().splitlines()[-1]


def dispatched_features() -> str:
    """Return the CPU features beyond numpy's baseline that this machine has."""
    found = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    return " ".join(found)


def digest_in_a_process(**environment: str) -> str:
    script = "from common.selftest import selftest_digest; print(selftest_digest())"
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=HERE.parents[1],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_this_machine_computes_the_known_bits() -> None:
    assert selftest_digest() == KNOWN


def test_without_this_machines_vector_units_the_bits_are_the_same() -> None:
    features = dispatched_features()
    if not features:
        pytest.skip("numpy found no CPU feature beyond its baseline")

    assert digest_in_a_process(NPY_DISABLE_CPU_FEATURES=features) == KNOWN


@pytest.mark.parametrize("kernel", ["Prescott", "Nehalem", "Haswell"])
def test_with_another_matrix_kernel_the_bits_are_the_same(kernel: str) -> None:
    assert digest_in_a_process(OPENBLAS_CORETYPE=kernel, OPENBLAS_NUM_THREADS="1") == KNOWN
