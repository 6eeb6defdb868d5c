import os
import sys

import pytest
from hypothesis import settings

assert "numpy" not in sys.modules, "numpy reads these when it is imported"
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # small products gain nothing
settings.register_profile("crosscloud", deadline=None)  # a busy machine is no failure
settings.load_profile("crosscloud")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite", action="store_true", help="rewrite golden scenario files from actual output"
    )
    parser.addoption(
        "--histories", type=int, default=2000, help="simulated histories to play (default: 2000)"
    )
    parser.addoption(
        "--soak-minutes", type=float, default=1.0, help="length of the soak (default: 1)"
    )


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--rewrite"))
